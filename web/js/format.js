/** Numbers as text; missing and non-finite values become a dash. */

const NONE = '–';
const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });

const known = (value) => typeof value === 'number' && Number.isFinite(value);

/** Three significant digits; very small and very large numbers get an exponent. */
export function figure(value) {
  if (!known(value)) return NONE;
  if (value === 0) return '0';
  const size = Math.abs(value);
  const text = size < 1e-3 || size >= 1e5 ? value.toExponential(1).replace('e+', 'e') : value.toPrecision(3);
  // toPrecision turns 12345 into 1.23e+4.
  const plain = text.includes('e+') ? whole.format(Number(text)) : text;
  return plain.replace('-', '−').replace('e-', 'e−');
}

/** A setting with all its digits. */
export const exact = (value) => (known(value) ? String(value) : NONE);

export const integer = (value) => (known(value) ? whole.format(value) : NONE);

export const percent = (share, digits = 2) => (known(share) ? `${(100 * share).toFixed(digits)} %` : NONE);

/** Nanoseconds in a suitable unit. */
export function nanoseconds(value) {
  if (!known(value)) return NONE;
  if (value >= 1e9) return `${(value / 1e9).toPrecision(3)} s`;
  if (value >= 1e6) return `${(value / 1e6).toPrecision(3)} ms`;
  return value >= 1e3 ? `${(value / 1e3).toPrecision(3)} µs` : `${value.toPrecision(3)} ns`;
}

/** Seconds as hours, minutes and seconds. */
export function seconds(value) {
  if (!known(value)) return NONE;
  if (value < 10) return `${value.toFixed(1)} s`;
  const all = Math.round(value);
  const [hours, minutes, rest] = [Math.floor(all / 3600), Math.floor(all / 60) % 60, all % 60];
  if (hours > 0) return `${hours} h ${minutes} min`;
  return minutes > 0 ? `${minutes} min ${rest} s` : `${rest} s`;
}

export const clock = (time) => new Date(time).toLocaleTimeString('en-GB');

/** `weight_gradient` as `weight gradient`. */
export const words = (name) => String(name).replaceAll('_', ' ');

/** Height, width and channels. */
export const shape = (sizes) => (Array.isArray(sizes) ? sizes.join('×') : NONE);

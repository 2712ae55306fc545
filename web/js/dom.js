/** Small helpers for elements. Text is always inserted as text, never as markup. */

export const byId = (id) => document.getElementById(id);

/**
 * Creates an element. Keys with a dash, `role` and `for` become attributes, `data` the data attributes, others properties.
 * @param {string} tag
 * @param {Record<string, any>} [properties]
 * @param {...(Node|string)} children
 */
export function el(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(properties)) {
    if (key === 'class') node.className = value;
    else if (key === 'data') Object.assign(node.dataset, value);
    else if (key.includes('-') || key === 'role' || key === 'for') node.setAttribute(key, value);
    else node[key] = value;
  }
  node.append(...children);
  return node;
}

/** Sets an element's text only if it differs, which avoids needless layout. */
export function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Sets an attribute, or removes it if the value is null. */
export function mark(node, name, value) {
  if (value === null) node.removeAttribute(name);
  else if (node.getAttribute(name) !== String(value)) node.setAttribute(name, String(value));
}

/**
 * Fills a select with `[value, text]` pairs and keeps the present choice if it still exists.
 * @param {HTMLSelectElement} select
 * @param {[string, string][]} choices
 */
export function offer(select, choices) {
  const chosen = select.value;
  select.replaceChildren(...choices.map(([value, text]) => el('option', { value, textContent: text })));
  if (choices.some(([value]) => value === chosen)) select.value = chosen;
}

/**
 * Waits for an answer and writes it, or the error, into an element.
 * @param {HTMLElement} output
 * @param {Promise<string>} promise
 * @returns {Promise<boolean>} whether it succeeded
 */
export async function answer(output, promise) {
  output.classList.remove('error');
  write(output, 'Asking…');
  try {
    write(output, await promise);
    return true;
  } catch (error) {
    output.classList.add('error');
    write(output, error.message);
    return false;
  }
}

/** Lets the keyboard scroll an element only while it overflows. */
export function scrollable(node, label) {
  const overflows = node.scrollWidth > node.clientWidth + 1 || node.scrollHeight > node.clientHeight + 1;
  mark(node, 'tabindex', overflows ? '0' : null);
  mark(node, 'role', overflows ? 'region' : null);
  mark(node, 'aria-label', overflows ? label : null);
}

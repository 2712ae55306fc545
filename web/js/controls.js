/** Controls that change the training and choose the example. */

import { byId, el, mark, write } from './dom.js';
import { clock, exact, integer } from './format.js';
import { standing } from './standing.js';
import { changed } from './curves.js';

const SETTINGS = ['learning_rate', 'momentum', 'batch_size', 'l1_decay', 'l2_decay'];
const CHANGING = ['pause', 'resume', 'step', ...SETTINGS, 'load', 'restart'];
/** States in which steps can still be made. */
const GOING = ['starting', 'running', 'paused'];
const OVER = ['ended', 'stopped', 'failed'];

const idOf = (name) => name.replaceAll('_', '-');

/** Enables or disables a button; if it loses the focus, another button gets it. */
function allow(button, allowed, other) {
  const had = document.activeElement === button;
  button.disabled = !allowed;
  if (!allowed && had && other && !other.disabled) other.focus();
}

/** @param {(asked: object, near?: HTMLElement) => Promise<boolean>} command */
export function controls(command) {
  for (const [id, name] of [['pause', 'pause'], ['resume', 'resume'], ['one-step', 'step']]) {
    byId(id).addEventListener('click', () => command({ do: name }));
  }
  const settings = settingsForm((values) => command({ do: 'set', ...values }, byId('apply-result')));
  const show = showForm((values) => command({ do: 'show', ...values }, byId('show-result')));

  return {
    kinds: ['run', 'status', 'connection'],
    urgent: true,
    draw(store) {
      const { run, status } = store;
      const able = new Set(run?.controls ?? []);
      const { there } = standing(store);
      document.querySelectorAll('[data-control]').forEach((node) => { node.hidden = run !== null && !able.has(node.dataset.control); });
      byId('finished').hidden = run === null || (CHANGING.some((name) => able.has(name)) && !OVER.includes(status?.state));
      byId('settings').hidden = run !== null && !SETTINGS.some((name) => able.has(name));
      const state = status?.state;
      const [pause, resume, step] = [byId('pause'), byId('resume'), byId('one-step')];
      if (there && state === 'paused') resume.disabled = false;
      allow(pause, there && (state === 'running' || state === 'starting'), resume);
      allow(step, there && (state === 'running' || state === 'paused'), resume);
      allow(resume, there && state === 'paused', pause);
      freeze(byId('settings').querySelector('fieldset'), !(there && GOING.includes(state)));
      freeze(byId('show-form').querySelector('fieldset'), !there);
      settings(run, status);
      show(run, status);
    },
  };
}

/** Disables or enables a fieldset; the focus returns to it once it is enabled. */
function freeze(fieldset, frozen) {
  if (fieldset.disabled === frozen) return;
  if (frozen) fieldset.was = fieldset.contains(document.activeElement) ? document.activeElement : null;
  fieldset.disabled = frozen;
  if (!frozen && fieldset.was && document.activeElement === document.body) fieldset.was.focus();
}

/** The settings' fields. A field that is being edited is not overwritten. */
function settingsForm(send) {
  const form = byId('settings');
  /** The newest values from the status, and the values filled into the fields. */
  let now = {};
  const filled = {};
  const field = (name) => byId(idOf(name));
  const edited = (name) => field(name).value !== (filled[name] ?? '');
  const note = (name) => field(name).parentElement.classList.toggle('edited', edited(name));

  function fill(name) {
    filled[name] = typeof now[name] === 'number' ? String(now[name]) : '';
    field(name).value = filled[name];
    note(name);
  }

  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    const names = SETTINGS.filter((name) => !field(name).parentElement.hidden && edited(name));
    const wrong = names.find((name) => !Number.isFinite(field(name).valueAsNumber));
    const near = byId('apply-result');
    near.classList.toggle('error', wrong !== undefined);
    if (wrong) {
      write(near, `${field(wrong).labels[0].textContent}: this is not a number.`);
      field(wrong).focus();
    } else if (names.length === 0) {
      write(near, 'Nothing was changed.');
    } else {
      // Text typed before the answer arrives has not been sent yet.
      const sent = names.map((name) => [name, field(name).value]);
      if (await send(Object.fromEntries(names.map((name) => [name, field(name).valueAsNumber])))) {
        sent.forEach(([name, value]) => { filled[name] = value; note(name); });
      }
    }
  });
  byId('undo').addEventListener('click', () => {
    SETTINGS.forEach(fill);
    write(byId('apply-result'), '');
  });
  SETTINGS.forEach((name) => field(name).addEventListener('input', () => note(name)));

  return (run, status) => {
    now = status?.settings ?? {};
    for (const name of SETTINGS) {
      write(byId(`${idOf(name)}-now`), `now ${exact(now[name])}`);
      if (!edited(name) && document.activeElement !== field(name)) fill(name);
    }
  };
}

/** The form that chooses the example. */
function showForm(send) {
  const [split, index] = [byId('show-split'), byId('show-index')];
  let counts = {};
  let told = '';
  const many = () => counts[split.value] ?? Infinity;
  const ask = (number) => {
    index.value = String(number);
    send({ split: split.value, index: number });
  };

  byId('show-form').addEventListener('submit', (event) => {
    event.preventDefault();
    const number = index.valueAsNumber;
    if (Number.isInteger(number)) ask(number);
    else write(byId('show-result'), 'The number of an example is a whole number from 0.');
  });
  const turn = (by) => () => ask(Number.isFinite(many()) ? ((index.valueAsNumber || 0) + by + many()) % many() : Math.max(0, (index.valueAsNumber || 0) + by));
  byId('show-previous').addEventListener('click', turn(-1));
  byId('show-next').addEventListener('click', turn(1));
  byId('show-any').addEventListener('click', () => ask(Math.floor(Math.random() * Math.min(many(), 1e6))));

  return (run, status) => {
    counts = run?.examples ?? {};
    mark(index, 'max', Number.isFinite(many()) ? many() - 1 : null);
    const { shown } = status ?? {};
    const key = shown ? `${shown.split} ${shown.index}` : '';
    // Filled in only on changes, so that typed text is not lost.
    if (key === told || document.activeElement === index || document.activeElement === split) return;
    told = key;
    if (shown) [split.value, index.value] = [shown.split, String(shown.index)];
  };
}

/** The list of changes. */
export function changes() {
  const list = byId('changes');
  return {
    kinds: ['run', 'change'],
    draw({ changes: all }) {
      byId('no-changes').hidden = all.length > 0;
      // The newest first; the numbers are those of the marks in the curves.
      list.replaceChildren(...all.map((change, i) => el('li', { value: i + 1 }, `step ${integer(change.step)}: ${changed(change)}`)).reverse());
    },
  };
}

/** Shows the state of the connection. */
export function connection(state, announce) {
  const { connection: { state: name, since, last, refused, retry } } = state;
  const [chip, notice] = [byId('connection'), byId('notice')];
  const shown = standing(state);
  write(chip, shown.connection);
  mark(chip, 'data-state', name);
  document.body.classList.toggle('old', shown.old);
  mark(notice, 'data-state', name);
  const ago = Math.round((Date.now() - (last ?? since)) / 1000);
  const wait = Math.max(0, Math.ceil(((retry ?? 0) - Date.now()) / 1000));
  const old = last ? ` The page shows the state at ${clock(last)}.` : '';
  const why = refused ? 'The server refused the connection; open the address that the command printed.' : `Disconnected since ${clock(since)}.`;
  const texts = {
    connecting: '',
    live: '',
    stale: `No message for ${ago} s.${old}`,
    disconnected: `${why}${old} ${wait > 0 ? `Trying again in ${wait} s.` : 'Trying again now…'}`,
  };
  if (announce.back && name === 'live') texts.live = 'Connected again.';
  write(notice, texts[name]);
  notice.hidden = texts[name] === '';
}

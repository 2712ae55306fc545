/** Downloads and loads weights, and starts a run with another network. */

import { answer, byId, el, mark, write } from './dom.js';

/** @param {{snapshotUrl: (kind: string) => string, snapshot: (kind: string) => Promise<Blob>, load: (file: File) => Promise<string>}} source */
export function snapshots(source) {
  const load = byId('load');
  load.addEventListener('change', async () => {
    const file = load.files[0];
    if (!file) return;
    await answer(byId('load-result'), source.load(file));
    // Allows the same file to be chosen again.
    load.value = '';
  });
  // Fetched here, so that a refusal can be shown; a plain download would fail silently.
  for (const kind of ['safetensors', 'json']) {
    byId(`snapshot-${kind}`).addEventListener('click', async (event) => {
      event.preventDefault();
      if (event.currentTarget.getAttribute('aria-disabled')) return;
      await answer(byId('snapshot-result'), source.snapshot(kind).then((blob) => {
        const link = el('a', { href: URL.createObjectURL(blob), download: `glassnet.${kind}` });
        link.click();
        setTimeout(() => URL.revokeObjectURL(link.href), 60000);
        return `glassnet.${kind} saved`;
      }));
    });
  }
  return {
    kinds: ['run', 'connection'],
    draw({ connection }) {
      const there = connection.state === 'live' || connection.state === 'stale';
      load.disabled = !there;
      for (const kind of ['safetensors', 'json']) {
        const link = byId(`snapshot-${kind}`);
        mark(link, 'href', there ? source.snapshotUrl(kind) : null);
        mark(link, 'aria-disabled', there ? null : 'true');
      }
    },
  };
}

/** @param {{command: (command: object) => Promise<string>}} source */
export function editor(source) {
  const [text, start, ask, result] = [byId('network-text'), byId('restart'), byId('restart-ask'), byId('restart-result')];
  /** The text that was filled into the field. */
  let filled = '';
  let own = '';

  function fill() {
    filled = own;
    text.value = own;
  }

  function close(focus = true) {
    ask.hidden = true;
    if (focus) start.focus();
  }

  start.addEventListener('click', () => {
    ask.hidden = false;
    write(result, '');
    byId('restart-confirm').focus();
  });
  byId('restart-cancel').addEventListener('click', () => close());
  ask.addEventListener('keydown', (event) => { if (event.key === 'Escape') close(); });
  byId('restart-confirm').addEventListener('click', async () => {
    const asked = text.value;
    close();
    if (await answer(result, source.command({ do: 'restart', network: asked }))) filled = asked;
  });
  byId('network-undo').addEventListener('click', () => {
    fill();
    write(result, '');
  });

  return {
    kinds: ['run', 'connection'],
    draw({ run, connection }) {
      const there = connection.state === 'live' || connection.state === 'stale';
      ['restart', 'restart-confirm'].forEach((id) => { byId(id).disabled = !there; });
      text.readOnly = run !== null && !(run.controls ?? []).includes('restart');
      if ((run?.network ?? '') === own) return;
      const edited = text.value !== filled;
      own = run?.network ?? '';
      if (!edited) fill();
    },
  };
}

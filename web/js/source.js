/**
 * Messages and requests over HTTP: the only module that uses HTTP. Another source with the same functions, such as one
 * that runs the kernels itself, can take its place.
 */

/** Milliseconds without a message after which the connection counts as stale, and as lost. */
const STALE = 5000;
const LOST = 15000;
/** The longest wait before another attempt. */
const LONGEST_WAIT = 8000;
/** The longest time for an answer: a run has 45 s for a change, and a model may pass through a slow tunnel. */
const ANSWER_TIME = 60000;
const FILE_TIME = 360000;

/**
 * @typedef {{state: 'connecting'|'live'|'stale'|'disconnected', since: number, last: number|null, refused?: boolean,
 *   retry?: number}} Connection `since` and `last`, of the newest message, are times in milliseconds; `retry` is when the
 *   next attempt begins
 */

/** @param {string} base address of the folder that requests are relative to */
export function httpSource(base = '') {
  let events = null;
  let timer = null;
  let tries = 0;
  let opened = 0;
  let last = null;
  let connection = { state: 'connecting', since: Date.now(), last };
  let tellMessage = () => {};
  let tellConnection = () => {};

  function become(state, more = {}) {
    const since = state === connection.state ? connection.since : Date.now();
    connection = { state, since, last, ...more };
    tellConnection(connection);
  }

  function connect() {
    clearTimeout(timer);
    timer = null;
    events?.close();
    opened = Date.now();
    const mine = new EventSource(`${base}events`);
    events = mine;
    mine.onmessage = ({ data }) => {
      if (events !== mine) return;
      last = Date.now();
      tries = 0;
      if (connection.state !== 'live') become('live');
      receive(data);
    };
    mine.onerror = () => {
      if (events === mine) lose(mine.readyState === EventSource.CLOSED);
    };
  }

  function receive(data) {
    let message;
    try {
      message = JSON.parse(data);
    } catch {
      console.error('a message that is no JSON', data.slice(0, 100));
      return;
    }
    tellMessage(message);
  }

  /** Handles a lost connection; another attempt follows. */
  function lose(refused) {
    events?.close();
    events = null;
    const wait = Math.min(1000 * 2 ** tries, LONGEST_WAIT);
    tries += 1;
    become('disconnected', { refused, retry: Date.now() + wait });
    clearTimeout(timer);
    timer = setTimeout(connect, wait);
  }

  function watch() {
    const silent = Date.now() - Math.max(last ?? 0, connection.state === 'live' ? 0 : connection.since);
    if (connection.state === 'live' && silent > STALE) become('stale');
    else if (connection.state === 'stale' && Date.now() - last > LOST) lose(false);
    else if (connection.state !== 'stale' && events && silent > LOST && Date.now() - opened > LOST) lose(false);
  }

  return {
    subscribe(onMessage, onConnection) {
      [tellMessage, tellConnection] = [onMessage, onConnection];
      tellConnection(connection);
      connect();
      setInterval(watch, 500);
      // A user who returns to the page need not wait for the next attempt.
      const hurry = () => { if (connection.state === 'disconnected' && !document.hidden) connect(); };
      window.addEventListener('online', hurry);
      document.addEventListener('visibilitychange', hurry);
    },
    /** Sends a command of docs/live.md; resolves to a description of what was done. */
    command: async (command) => {
      const headers = { 'Content-Type': 'application/json' };
      return (await ask('control', { headers, body: JSON.stringify(command) })).done;
    },
    /** Sends a PNG or JPEG through the network; resolves to a `view`. */
    classify: (blob) => ask('classify', { headers: { 'Content-Type': blob.type || 'application/octet-stream' }, body: blob }),
    /** @param {'safetensors'|'json'} kind */
    snapshotUrl: (kind) => `${base}snapshot.${kind}`,
    /** The newest weights as a file. */
    snapshot: async (kind) => {
      const response = await send(`snapshot.${kind}`, { method: 'GET' }, FILE_TIME);
      if (!response.ok) await refuse(response);
      return response.blob();
    },
    /** Loads weights from a file; resolves to a description of what was done. */
    load: async (file) => {
      const headers = { 'Content-Type': 'application/octet-stream' };
      return (await ask(`load?name=${encodeURIComponent(file.name)}`, { headers, body: file }, FILE_TIME)).done;
    },
  };

  async function send(path, options, time = ANSWER_TIME) {
    try {
      return await fetch(`${base}${path}`, { method: 'POST', signal: AbortSignal.timeout(time), ...options });
    } catch (error) {
      const late = error.name === 'TimeoutError';
      throw new Error(late ? `There was no answer within ${time / 60000} min.` : 'The request did not reach Glassnet.');
    }
  }

  async function refuse(response) {
    const found = await response.json().catch(() => null);
    throw new Error(found?.error ?? `The answer was ${response.status} ${response.statusText}.`);
  }

  async function ask(path, options, time) {
    const response = await send(path, options, time);
    if (!response.ok) await refuse(response);
    const found = await response.json().catch(() => null);
    if (found === null) throw new Error('The answer could not be read.');
    return found;
  }
}

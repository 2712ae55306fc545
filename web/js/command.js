/** Commands from several panels, with their answers in one place below the bar. */

import { answer, byId, write } from './dom.js';

/** Milliseconds for which an answer or an error remains visible. */
const STAYS = { done: 4000, failed: 12000 };

/**
 * @param {{command: (command: object) => Promise<string>}} source
 * @returns {(asked: object, near?: HTMLElement) => Promise<boolean>} sends a command and writes the answer below the bar and
 *   next to the control; resolves to whether it succeeded
 */
export function commands(source) {
  const result = byId('control-result');
  let clearing = 0;
  return async (asked, near) => {
    clearTimeout(clearing);
    const promise = source.command(asked);
    const [done] = await Promise.all([answer(result, promise), near ? answer(near, promise) : true]);
    clearTimeout(clearing);
    clearing = setTimeout(() => write(result, ''), done ? STAYS.done : STAYS.failed);
    return done;
  };
}

/** Commands from several panels, whose answers stand in one place below the bar. */

import { answer, byId, write } from './dom.js';

/** Milliseconds that an answer stays, and an error. */
const STAYS = { done: 4000, failed: 12000 };

/**
 * @param {{command: (command: object) => Promise<string>}} source
 * @returns {(asked: object, near?: HTMLElement) => Promise<boolean>} does a command, writes the answer below the bar, and
 *   beside the control too; resolves to whether it was done
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

/** How connection and training stand, in words that agree: what the page says of either is made here. */

/** What a run does as long as nobody says otherwise, and what it stays. */
const GOING = ['starting', 'running', 'paused', 'testing'];

/**
 * @param {{connection: {state: string}, status: {state: string}|null}} state
 * @returns {{connection: string, training: string, look: string, old: boolean, there: boolean, going: string|null}}
 *   the two words; what the second is marked with, which is `unknown` where the first means that it may be over; whether what
 *   is shown is old; whether something can be asked for; and the run's state where it is known and not its last
 */
export function standing({ connection, status }) {
  const { state: name } = connection;
  const old = name === 'stale' || name === 'disconnected';
  const state = status?.state ?? null;
  const going = GOING.includes(state);
  return {
    connection: name === 'live' ? 'connected' : name,
    // What a run was doing when it was heard of last, and what it ends with, which nothing changes any more.
    training: old && going ? `was ${state}` : state ?? '–',
    look: old && going ? 'unknown' : state ?? '',
    old,
    there: name === 'live' || name === 'stale',
    going: going && !old ? state : null,
  };
}

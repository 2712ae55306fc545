/** The states of connection and training in consistent words; every text about them comes from here. */

/** States in which a run is not over. */
const GOING = ['starting', 'running', 'paused', 'testing'];

/**
 * @param {{connection: {state: string}, status: {state: string}|null}} state
 * @returns {{connection: string, training: string, look: string, old: boolean, there: boolean, going: string|null}}
 *   the two words; the mark of the second, which is `unknown` if the run may be over by now; whether the
 *   display is out of date; whether requests are possible; and the run's state if it is known and not final
 */
export function standing({ connection, status }) {
  const { state: name } = connection;
  const old = name === 'stale' || name === 'disconnected';
  const state = status?.state ?? null;
  const going = GOING.includes(state);
  return {
    connection: name === 'live' ? 'connected' : name,
    // The last known state of a run that was not over, or its final state, which no longer changes.
    training: old && going ? `was ${state}` : state ?? '–',
    look: old && going ? 'unknown' : state ?? '',
    old,
    there: name === 'live' || name === 'stale',
    going: going && !old ? state : null,
  };
}

//! Limits on connections: one for each peer, one for this machine, and one for all other machines.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::task::AbortHandle;

/// The most connections at a time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// For one peer: an IPv4 address, or an IPv6 network of 64 bits, since one machine may have all addresses in it.
    pub peer: usize,
    /// For all peers on this machine.
    pub here: usize,
    /// For all others.
    pub elsewhere: usize,
}

impl Limits {
    /// More for one peer than the number of pages that can be open.
    pub const DEFAULT: Limits = Limits { peer: 48, here: 64, elsewhere: 64 };
}

/// The present connections.
#[derive(Debug)]
pub(super) struct Room {
    limits: Limits,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    next: u64,
    /// The oldest first.
    held: Vec<Held>,
}

#[derive(Debug)]
struct Held {
    id: u64,
    peer: IpAddr,
    /// Whether its last request was complete and from an authorised client.
    known: bool,
    task: Option<AbortHandle>,
}

/// A connection's place in the room.
#[derive(Debug, Clone)]
pub(super) struct Seat {
    room: Arc<Room>,
    id: u64,
}

impl Room {
    pub fn new(limits: Limits) -> Room {
        Room { limits, inner: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a connection from `address`. If its peer, or its kind of peers, has reached the limit, the oldest
    /// connection of an unknown client is closed; without such a connection, the new one gets no place.
    pub fn take(room: &Arc<Room>, address: IpAddr) -> Option<Seat> {
        let peer = peer(address);
        let mut inner = room.lock();
        let own = |held: &Held| held.peer == peer;
        if inner.count(own) >= room.limits.peer && !inner.evict(own) {
            return None;
        }
        let here = peer.is_loopback();
        let most = if here { room.limits.here } else { room.limits.elsewhere };
        let alike = |held: &Held| held.peer.is_loopback() == here;
        if inner.count(alike) >= most {
            // From the peer with the most; others may be about to send a request.
            let unknown = inner.held.iter().filter(|held| alike(held) && !held.known).map(|held| held.peer);
            // In reverse, because the last of equal values is taken.
            let crowd = unknown.rev().max_by_key(|peer| inner.count(|held| held.peer == *peer && !held.known))?;
            inner.evict(|held| held.peer == crowd);
        }
        inner.next += 1;
        let id = inner.next;
        inner.held.push(Held { id, peer, known: false, task: None });
        Some(Seat { room: room.clone(), id })
    }
}

impl Inner {
    fn count(&self, of: impl Fn(&Held) -> bool) -> usize {
        self.held.iter().filter(|held| of(held)).count()
    }

    /// Closes the oldest connection of an unknown client; returns whether there was one.
    fn evict(&mut self, of: impl Fn(&Held) -> bool) -> bool {
        let Some(oldest) = self.held.iter().position(|held| !held.known && of(held)) else { return false };
        if let Some(task) = self.held.remove(oldest).task {
            task.abort();
        }
        true
    }
}

impl Seat {
    /// Sets the task to abort if another connection needs the place.
    pub fn held_by(&self, task: AbortHandle) {
        let mut inner = self.room.lock();
        let id = self.id;
        inner.held.iter_mut().filter(|held| held.id == id).for_each(|held| held.task = Some(task.clone()));
    }

    /// Secures the connection's place after an authorised request. While a request's body has not fully arrived
    /// (`whole` is false), another connection may still take it.
    pub fn know(&self, whole: bool) {
        let id = self.id;
        self.room.lock().held.iter_mut().filter(|held| held.id == id).for_each(|held| held.known = whole);
    }

    /// Frees the place of a closed connection.
    pub fn leave(&self) {
        self.room.lock().held.retain(|held| held.id != self.id);
    }
}

/// The address or network that counts as one peer.
fn peer(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) if !address.is_loopback() => {
            Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into()
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { peer: 4, here: 6, elsewhere: 10 };

    fn room() -> Arc<Room> {
        Arc::new(Room::new(LIMITS))
    }

    fn take(room: &Arc<Room>, address: &str) -> Option<Seat> {
        Room::take(room, address.parse().expect("an address"))
    }

    fn there(room: &Room, seat: &Seat) -> bool {
        room.lock().held.iter().any(|held| held.id == seat.id)
    }

    #[test]
    fn a_peer_loses_its_own_oldest_connection_and_nobody_elses() {
        let room = room();
        let other = take(&room, "10.0.0.2").expect("room");
        let seats: Vec<Seat> = (0..6).map(|_| take(&room, "10.0.0.1").expect("room")).collect();
        let kept: Vec<bool> = seats.iter().map(|seat| there(&room, seat)).collect();
        assert_eq!(kept, [false, false, true, true, true, true]);
        assert!(there(&room, &other));
    }

    #[test]
    fn whoever_is_known_stays_and_a_peer_of_only_those_gets_no_more() {
        let room = room();
        let seats: Vec<Seat> = (0..4).map(|_| take(&room, "10.0.0.1").expect("room")).collect();
        seats.iter().for_each(|seat| seat.know(true));
        assert!(take(&room, "10.0.0.1").is_none());
        assert!(take(&room, "10.0.0.2").is_some(), "another has room");
        seats[0].know(false);
        let next = take(&room, "10.0.0.1").expect("the place of one whose body is still to come");
        assert_eq!([0, 1, 2, 3].map(|i| there(&room, &seats[i])), [false, true, true, true]);
        next.know(true);
        assert!(take(&room, "10.0.0.1").is_none());
        seats[1].leave();
        assert!(take(&room, "10.0.0.1").is_some(), "one that ended makes room");
    }

    #[test]
    fn others_cannot_take_this_machines_room_nor_the_reverse() {
        let room = room();
        for i in 0..40 {
            assert!(take(&room, &format!("10.0.1.{i}")).is_some());
        }
        assert_eq!(room.lock().held.len(), LIMITS.elsewhere);
        let here: Vec<Seat> = (1..=6).map(|i| take(&room, &format!("127.0.0.{i}")).expect("room of its own")).collect();
        assert_eq!(room.lock().held.len(), LIMITS.elsewhere + LIMITS.here);
        assert!(take(&room, "::1").is_some());
        assert!(!there(&room, &here[0]), "its own oldest goes");
        assert_eq!(room.lock().held.len(), LIMITS.elsewhere + LIMITS.here);
        here.iter().for_each(|seat| seat.know(true));
        assert!(take(&room, "10.0.2.1").is_some());
    }

    #[test]
    fn where_all_room_is_taken_the_peer_with_the_most_unknown_loses_one() {
        let room = room();
        let quiet = take(&room, "10.0.0.1").expect("room");
        let crowd: Vec<Seat> = (0..9).map(|i| take(&room, &format!("10.0.1.{}", i / 4)).expect("room")).collect();
        assert!(take(&room, "10.0.3.1").is_some());
        assert!(there(&room, &quiet), "the oldest of all, but alone");
        assert_eq!(crowd.iter().filter(|seat| there(&room, seat)).count(), 8);
    }

    #[test]
    fn a_machine_with_a_network_of_ipv6_addresses_is_one_peer() {
        let parsed = |text: &str| peer(text.parse().expect("an address"));
        assert_eq!(parsed("2001:db8:1:2:3:4:5:6"), parsed("2001:db8:1:2::9"));
        assert_ne!(parsed("2001:db8:1:2::9"), parsed("2001:db8:1:3::9"));
        assert_eq!(parsed("::ffff:10.0.0.1"), parsed("10.0.0.1"));
        assert!(parsed("::ffff:127.0.0.1").is_loopback() && parsed("::1").is_loopback());
    }
}

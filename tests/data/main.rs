//! Reading and fetching data sets, as a user of the library sees it.
//! No test leaves this machine: downloads come from servers on loopback that misbehave in one way each.

mod cifar;
mod download;
mod idx;
mod real;
mod server;
mod unreachable;

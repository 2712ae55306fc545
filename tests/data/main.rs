//! Reading and fetching data sets with the library's API. No test uses the network: downloads come from servers on
//! loopback, each of which misbehaves in one way.

mod cifar;
mod download;
mod idx;
mod real;
mod server;
mod unreachable;

//! From trigger to reject: the gate, and the program around it.

pub mod devices;
pub mod gate;
pub mod keepalive;

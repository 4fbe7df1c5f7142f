//! Triggers and output lines on the GPIO character device, and simulated ones.

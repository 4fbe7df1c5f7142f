//! What happened: event log, kept images, metrics. Listens; decides nothing.

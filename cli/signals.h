#pragma once

namespace ratel::cli {

/// From here on SIGINT, SIGTERM and, unless it is ignored, SIGHUP set a flag that loops read; a second SIGINT ends the
/// process at once with 130.
void catch_signals();

/// From here on a mapped file that another program makes shorter, or whose disk fails, ends the process with a line and
/// the code 3 (bad input file) where it is read: SIGBUS.
void explain_bus_errors();

/// Signals end the process again, as before catch_signals(): for work that cannot be asked to stop.
void release_signals();

/// The number of the first signal caught, 0 before.
int caught_signal();
inline bool stop_requested() { return caught_signal() != 0; }

/// A command that a signal cut short returns this: 128 + the signal's number: 130, 143 or 129.
inline int signal_exit_code() { return 128 + caught_signal(); }

}  // namespace ratel::cli

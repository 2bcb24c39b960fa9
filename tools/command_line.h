// The whole command line of `thinker`: parses it, runs one subcommand, and turns what it throws into one line on stderr
// and an exit status. Apart from main() so that tests can call it.
#pragma once

namespace thinker {

/// 0: done, 1: failed, 2: wrong usage, 130: stopped by Ctrl-C.
int run_command_line(int argc, const char* const* argv);

}  // namespace thinker

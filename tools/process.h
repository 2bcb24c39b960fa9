// What a process is to be before its command line is read: with three standard streams, and no more threads than make
// sense. Apart from main() so that tests can call it.
#pragma once

namespace thinker {

/// Takes the place of each standard stream that is closed: the next file to be opened would get its number, and what
/// the program prints would go into that file. Input that is closed then cannot be read, nor output be written, which
/// the commands report; what is meant for a closed standard error is dropped.
void keep_standard_streams();

/// Cuts the number of threads that OMP_NUM_THREADS asks for to a few for each processor, with a line on standard error:
/// OpenMP ends the program when the system gives it no more.
void limit_threads();

}  // namespace thinker

#include <pthread.h>
#include <signal.h>

#include <initializer_list>

#include "uploader/helper_thread.h"

namespace nodemeter {

void keep_signals_away() {
  sigset_t all;
  sigfillset(&all);
  // Faults of this thread itself must keep their meaning.
  for (const int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP}) sigdelset(&all, fault);
  pthread_sigmask(SIG_BLOCK, &all, nullptr);
}

}  // namespace nodemeter

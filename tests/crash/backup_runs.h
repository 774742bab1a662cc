// Crashes, power cuts and failing calls while a backup is taken: a backup that is there is whole and marked.

#pragma once

namespace nodemeter::crash {

// All of them, counted into the Tally, spread over workers.
void backups();

}  // namespace nodemeter::crash

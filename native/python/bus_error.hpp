// A mapped file that becomes shorter ends the process that reads it by SIGBUS: this has it say so first.
#pragma once

namespace onelayer {

// From now on SIGBUS writes one line on standard error before it ends the process as it would have. A handler that is
// there already, such as faulthandler's, stays in its place.
void explain_bus_errors();

}  // namespace onelayer

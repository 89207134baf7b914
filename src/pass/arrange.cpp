#include "pass/arrange.h"

#include "pass/layout.h"
#include "pass/recognise_norms.h"

namespace halftone::pass {

void arrange(ir::Graph& graph, DType storage) {
  recognise_group_norms(graph, storage);
  sink_transposes(graph, storage);
  // Behind the Transposes, which can stand between a normalisation and its scale.
  if (recognise_norms(graph, storage)) sink_transposes(graph, storage);
  absorb_parameter_transposes(graph);
}

}  // namespace halftone::pass

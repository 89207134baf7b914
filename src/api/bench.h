// A graph with what it needs to run: threads, a store with its tensors' values, memory, and the program. For
// graphs that are run as they are; a network in training, whose programs share a store, is train/network.h.
#pragma once

#include <memory>
#include <string>

#include "base/stop.h"
#include "exec/program.h"

namespace halftone::api {

// Parameters and state of a graph with what the file has for them, as a program needs them. Error when one is
// not finite, if that is asked for.
void store_initial(const ir::Graph& graph, exec::Store& store, bool refuse_non_finite = false);

struct Bench {
  par::Pool pool;
  exec::Store store;
  exec::Arena arena;
  std::unique_ptr<exec::Program> program;
  ops::StepState state;
  Interruptible anywhere;

  // storage: whose kernels are used. refuse_non_finite: Error when a tensor is not finite.
  Bench(ir::Graph graph, DType storage, kern::Multiply multiply, int threads, bool refuse_non_finite = false);

  // Puts a tensor where the program reads a value, converted to its type. `what` it is, for the error:
  // another shape.
  void feed(ir::ValueId id, const Tensor& tensor, const std::string& what);
  // A value after a run, at least fp32.
  Tensor read(ir::ValueId id) const;
  void run() { program->run(ir::Phase::kCompute, state); }
};

}  // namespace halftone::api

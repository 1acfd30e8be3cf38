// Runs testbench.sv in Verilator built without --timing: the clock, and an exit status.
#include <memory>

#include "Vtestbench.h"
#include "verilated.h"

int main(int argc, char** argv) {
  const auto context = std::make_unique<VerilatedContext>();
  context->commandArgs(argc, argv);
  context->traceEverOn(true);
  context->fatalOnError(false);
  const auto bench = std::make_unique<Vtestbench>(context.get());
  bench->clk = 0;
  while (!context->gotFinish()) {
    context->timeInc(5);
    bench->clk = !bench->clk;
    bench->eval();
    if (context->gotError()) break;
  }
  bench->final();
  return context->gotError() ? 1 : 0;
}

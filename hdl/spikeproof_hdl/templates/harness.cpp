// Drives the generated core in Verilator and compares every update of every layer with golden traces.
// core_layout.h is generated beside this file from the same layouts as the Verilog.
//
//   harness DIR FIRST IMAGES SEED SEQUENTIAL IDLE_LIMIT [VCD FROM TO]
//
// DIR holds stimulus.u32, winners.i32 and <layer>.spikes.u8 / <layer>.membranes.i32; of these, IMAGES images from the one with
// number FIRST are simulated. SEED 0 never stalls; any other makes
// the input idle at random and refuses results for up to 2^15 cycles, so that all layers back up. SEQUENTIAL 1 sends an
// image when the one before has its result. One JSON object goes to standard output; the exit status is 0 if all is equal, 1 if not.
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <type_traits>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "Vverify_top.h"
#include "verilated.h"
#if VM_TRACE
#include "verilated_vcd_c.h"
#endif

struct Bits {
  uint32_t w[PAYLOAD_WORDS_MAX + 2] = {0};
  template <class T> void load(const T& v) {
    if constexpr (std::is_integral_v<T>) { w[0] = (uint32_t)v; if constexpr (sizeof(T) > 4) w[1] = (uint32_t)(v >> 32); }
    else memcpy(w, v.data(), sizeof(T));
  }
  uint64_t at(int low, int width) const {
    if (!width) return 0;
    uint64_t x = (uint64_t)w[low / 32] | (uint64_t)w[low / 32 + 1] << 32;
    x >>= low % 32;
    return x & ((1ull << width) - 1);
  }
};

struct LayerLayout {
  const char* name;
  uint64_t neurons;
  int units, spikes, membranes, v_bits, v_signed, index, index_bits;
};

#include "core_layout.h"

template <class T> static void put(T& port, const uint32_t* w) {
  if constexpr (std::is_integral_v<T>) {
    uint64_t x = w[0];
    if constexpr (sizeof(T) > 4) x |= (uint64_t)w[1] << 32;
    port = (T)x;
  } else memcpy(port.data(), w, sizeof(T));
}

static const void* map_file(const std::string& path, uint64_t bytes) {
  int file = open(path.c_str(), O_RDONLY);
  struct stat info;
  if (file < 0 || fstat(file, &info) || (uint64_t)info.st_size < bytes) {
    fprintf(stderr, "%s must hold at least %" PRIu64 " bytes\n", path.c_str(), bytes);
    exit(2);
  }
  void* data = mmap(nullptr, bytes ? bytes : 1, PROT_READ, MAP_PRIVATE, file, 0);
  if (data == MAP_FAILED) { perror(path.c_str()); exit(2); }
  close(file);
  return data;
}

struct Divergence { bool found = false; uint64_t image, step, neuron, cycle; long long expected, got; const char* what; };

int main(int argc, char** argv) {
  if (argc < 7) { fprintf(stderr, "usage: harness DIR FIRST IMAGES SEED SEQUENTIAL IDLE_LIMIT [VCD FROM TO]\n"); return 2; }
  const std::string dir = argv[1];
  const uint64_t from = strtoull(argv[2], nullptr, 10), images = strtoull(argv[3], nullptr, 10);
  const uint64_t idle_limit = strtoull(argv[6], nullptr, 10);
  uint64_t random = strtoull(argv[4], nullptr, 10);
  const bool stall = random != 0, sequential = argv[5][0] == '1';

  const uint64_t upto = from + images;
  const auto* stimulus = (const uint32_t*)map_file(dir + "/stimulus.u32", upto * IMAGE_WORDS * WORD_U32 * 4)
                         + from * IMAGE_WORDS * WORD_U32;
  const auto* winners = (const int32_t*)map_file(dir + "/winners.i32", upto * 4) + from;
  const uint8_t* spikes[LAYERS];
  const int32_t* membranes[LAYERS];
  for (int l = 0; l < LAYERS; l++) {
    const uint64_t values = STEPS * LAYOUT[l].neurons;         // of an image
    spikes[l] = (const uint8_t*)map_file(dir + "/" + LAYOUT[l].name + ".spikes.u8", upto * values) + from * values;
    membranes[l] = (const int32_t*)map_file(dir + "/" + LAYOUT[l].name + ".membranes.i32", upto * values * 4) + from * values;
  }

  VerilatedContext context;
#if VM_TRACE
  context.traceEverOn(true);
#endif
  Vverify_top dut{&context};
#if VM_TRACE
  VerilatedVcdC vcd;
  const uint64_t vcd_from = argc > 9 ? strtoull(argv[8], nullptr, 10) : 0, vcd_to = argc > 9 ? strtoull(argv[9], nullptr, 10) : 0;
  if (argc > 9) { dut.trace(&vcd, 99); vcd.open(argv[7]); }
#endif
  uint64_t cycle = 0;
  auto half = [&](int level) {
    dut.clk = level;
    dut.eval();
#if VM_TRACE
    if (argc > 9 && cycle >= vcd_from && cycle <= vcd_to) vcd.dump(cycle * 10 + (level ? 5 : 0));
#endif
  };
  dut.dump = 0;
  dut.i_valid = 0;
  dut.o_ready = 1;
  dut.rst = 1; half(0); half(1); half(0); half(1);
  dut.rst = 0;

  uint64_t sent = 0, results = 0, idle = 0, updates[LAYERS] = {0}, values = 0, latency = 0, image_start = 0;
  const uint64_t total_words = images * IMAGE_WORDS;
  Divergence first[LAYERS + 1];
  auto diverge = [&](int l, uint64_t image, uint64_t step, uint64_t neuron, const char* what, long long expected, long long got) {
    if (!first[l].found) first[l] = {true, image, step, neuron, cycle, expected, got, what};
  };
  bool diverged = false, stuck = false;
  uint64_t hold = 0;                      // cycles that a result is still refused
  uint64_t stop_image = images;           // after a divergence: every layer finishes that image, then all stops
  auto finished = [&] {
    for (int l = 0; l < LAYERS; l++) if (updates[l] < stop_image * STEPS * (LAYOUT[l].neurons / LAYOUT[l].units)) return false;
    return results >= stop_image;
  };

  while (!finished()) {
    bool ready = true, offer = true;
    if (stall) {
      random ^= random << 13; random ^= random >> 7; random ^= random << 17;
      ready = hold == 0;
      if (hold && dut.o_valid) hold--;
      offer = (random >> 30 & 3) != 0;
    }
    bool send = offer && sent < total_words && !(sequential && sent / IMAGE_WORDS > results);
    dut.o_ready = ready;
    dut.i_valid = send;
    if (send) put(dut.i_payload, stimulus + sent * WORD_U32);
    half(0);
    bool progress = false;
    if (send && dut.i_ready) {
      if (sent % IMAGE_WORDS == 0) image_start = cycle;
      sent++;
      progress = true;
    }
    if (dut.o_valid && ready) {
      progress = true;
      if (stall) hold = random >> 33 & ((1ull << (random >> 25 & 15)) - 1);
      if (results >= images) diverge(LAYERS, images, 0, 0, "extra result", 0, dut.o_payload);
      else {
        values++;
        if ((int64_t)dut.o_payload != winners[results])
          diverge(LAYERS, results, STEPS, 0, "winner", winners[results], dut.o_payload);
        latency += cycle - image_start + 1;
        results++;
      }
    }
    for (int l = 0; l < LAYERS; l++) {
      Bits p;
      if (!trace(dut, l, p)) continue;
      progress = true;
      const LayerLayout& y = LAYOUT[l];
      const uint64_t per_step = y.neurons / y.units, step_at = updates[l] / per_step, index = updates[l] % per_step;
      const uint64_t image = step_at / STEPS, step = step_at % STEPS;
      if (image >= images) { diverge(l, image, step, index * y.units, "extra update", 0, 1); continue; }
      if (p.at(y.index, y.index_bits) != index)
        diverge(l, image, step, index * y.units, "update index", index, p.at(y.index, y.index_bits));
      for (int k = 0; k < y.units; k++) {
        const uint64_t neuron = index * y.units + k, at = step_at * y.neurons + neuron;
        const int s = p.at(y.spikes + k, 1);
        int64_t v = p.at(y.membranes + k * y.v_bits, y.v_bits);
        if (y.v_signed && v >> (y.v_bits - 1)) v -= 1ll << y.v_bits;
        if (s != spikes[l][at]) diverge(l, image, step, neuron, "spike", spikes[l][at], s);
        else if (v != membranes[l][at]) diverge(l, image, step, neuron, "membrane", membranes[l][at], v);
        values += 2;
      }
      updates[l]++;
    }
    if (!diverged)
      for (int l = 0; l <= LAYERS; l++) if (first[l].found) { diverged = true; stop_image = first[l].image + 1 < images ? first[l].image + 1 : images; }
    half(1);
    cycle++;
    idle = progress ? 0 : idle + 1;
    if (idle > idle_limit) { stuck = true; break; }
  }
  // Nothing may come after the last result: leave the core running for a while.
  const uint64_t cycles = cycle;
  if (!diverged && !stuck) {
    dut.i_valid = 0; dut.o_ready = 1;
    for (int k = 0; k < 256; k++, cycle++) {
      half(0);
      Bits p;
      for (int l = 0; l < LAYERS; l++) if (trace(dut, l, p)) diverge(l, images, 0, 0, "extra update", 0, 1);
      if (dut.o_valid) diverge(LAYERS, images, 0, 0, "extra result", 0, dut.o_payload);
      half(1);
    }
    for (int l = 0; l <= LAYERS; l++) diverged |= first[l].found;
    dut.dump = 1; half(0);                // the memories are written to files by verify_top
  }
#if VM_TRACE
  if (argc > 9) vcd.close();
#endif
  dut.final();

  // The first divergence is the earliest image, then step, then layer: later ones may follow from it.
  int at = -1;
  for (int l = 0; l <= LAYERS; l++) {
    if (!first[l].found) continue;
    if (at < 0 || first[l].image < first[at].image || (first[l].image == first[at].image && first[l].step < first[at].step)) at = l;
  }
  printf("{\"status\": \"%s\", \"images\": %" PRIu64 ", \"cycles\": %" PRIu64 ", \"values\": %" PRIu64 ", \"latency_cycles\": %" PRIu64,
         at >= 0 ? "diverged" : stuck ? "stuck" : "equal", results, cycles, values, latency);
  printf(", \"updates\": {");
  for (int l = 0; l < LAYERS; l++) printf("%s\"%s\": %" PRIu64, l ? ", " : "", LAYOUT[l].name, updates[l]);
  printf("}, \"words_sent\": %" PRIu64, sent);
  if (at >= 0) {
    const Divergence& d = first[at];
    printf(", \"divergence\": {\"layer\": \"%s\", \"what\": \"%s\", \"image\": %" PRIu64 ", \"step\": %" PRIu64 ", \"neuron\": %" PRIu64
           ", \"expected\": %lld, \"got\": %lld, \"cycle\": %" PRIu64 "}",
           at < LAYERS ? LAYOUT[at].name : "readout", d.what, from + d.image, d.step, d.neuron, d.expected, d.got, d.cycle);
  }
  printf("}\n");
  return at >= 0 || stuck ? 1 : 0;
}

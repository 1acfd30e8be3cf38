"""The five steps of the contract, as a pipeline over a layer's neurons."""
from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from spikeproof.fixed_point import LFSR_TAPS, LFSR_WIDTH, round_floor, round_half_even, round_half_up

from .codecs import span
from .gather import Counter

__all__ = ["NeuronUpdate", "Update", "leak", "round_code"]

#: Cycles from reading a membrane to the first in which its new value can be read.
DEPTH = 6


class Update(data.StructLayout):
    """What one update did to ``updaters`` neighbouring neurons.

    ``index`` counts updates of a time step, so its neurons are index * updaters onwards; ``membranes`` are
    the codes now in memory; ``group_end`` marks the last update of a group of lanes, ``step_end`` that of a
    time step, ``image_end`` that of an image.
    """
    def __init__(self, layer, updaters):
        store = layer.neuron.store
        super().__init__({"spikes": updaters,
                          "membranes": data.ArrayLayout(span(store.lo, store.hi), updaters),
                          "index": range(max(layer.neurons // updaters, 2)),
                          "group_end": 1, "step_end": 1, "image_end": 1})


def leak(spec, v):
    """Step 1 on a signed Value; a multiplier is a sum of shifts."""
    if spec.kind == "subtract_shift":
        return v - (v >> spec.shift)
    if spec.kind == "shift":
        return v >> spec.shift
    if spec.kind == "multiply":
        product = Const(0, signed(1))
        for k in range(spec.fraction):
            if spec.multiplier >> k & 1:
                product = product + v.shift_left(k)
        return product >> spec.fraction
    return v


def round_code(store, h, draw):
    """The rounding of step 5 on a signed Value; ``draw`` is an unsigned Value for stochastic rounding."""
    if store.rounding == "stochastic":
        return (h + draw) >> store.shift
    return {"floor": round_floor, "half_up": round_half_up, "half_even": round_half_even}[store.rounding](h, store.shift)


class NeuronUpdate(wiring.Component):
    """Leaks, integrates, fires, resets and stores ``updaters`` neurons a cycle, in index order.

    Pipeline: cycle 0 addresses the memories, 1 leaks and adds the bias, 2 integrates, 3 compares,
    4 resets and rounds, 5 saturates and stores. The membrane is ``v_init`` at the first step of an image:
    nothing is swept. Latency: six cycles. Throughput: one update a cycle; a layer of fewer than six updates
    a step waits for the last step's to be stored. Back-pressure: all stages stand still together.
    Guard bits: h has the range that the codes prove, so only the store saturates.

    Parameters
    ----------
    layer : LayerSpec
    acc_range : (lo, hi) of the sums
    steps : int, time steps of an image
    lanes, updaters : int

    Members
    -------
    i : In(stream of ``updaters`` sums)
    o : Out(stream of Update)
    """
    def __init__(self, layer, acc_range, steps, lanes, updaters):
        self.layer, self.acc_range, self.steps = layer, acc_range, steps
        self.lanes, self.updaters = lanes, updaters
        self.acc_shape = span(*acc_range)
        super().__init__({"i": In(stream.Signature(data.ArrayLayout(self.acc_shape, updaters))),
                          "o": Out(stream.Signature(Update(layer, updaters)))})

    def _theta_memory(self, m, accept, run, channel, index, step):
        """A Value per updater, valid in cycle 1: the thresholds, from a memory or constant."""
        layer, units = self.layer, self.updaters
        theta = layer.theta
        if theta is None or theta.size == 1:
            value = None if theta is None else Const(int(theta.item()))
            return [value] * units
        per_step = theta[0].size                # 1, the channels, or all neurons
        per_row = 1 if per_step == 1 else units
        rows = theta.reshape(-1, per_row)
        m.submodules.theta = thetas = memory.Memory(
            shape=data.ArrayLayout(span(0, int(theta.max())), per_row), depth=len(rows), init=rows.tolist())
        read = thetas.read_port()
        at = 0 if per_step == 1 else index.at if per_step == layer.neurons else channel.at
        if theta.shape[0] > 1:
            base = Signal(range(len(rows)))
            with m.If(accept & index.last):
                m.d.sync += base.eq(base + per_step // per_row)
                with m.If(step.last):
                    m.d.sync += base.eq(0)
            at = base + at
        m.d.comb += [read.addr.eq(at), read.en.eq(run)]
        return [read.data[k if per_row > 1 else 0] for k in range(units)]

    def _draws(self, m, advance, restart):
        """One Value per updater: consecutive draws of the layer's LFSR."""
        store = self.layer.neuron.store
        if store.rounding != "stochastic" or store.shift == 0:
            return [Const(0, 1)] * self.updaters
        state, now = Signal(LFSR_WIDTH, init=store.seed), Signal(LFSR_WIDTH)
        m.d.comb += now.eq(Mux(restart, store.seed, state))
        sequence = list(now)
        for n in range(self.updaters * store.shift):
            new = Const(0, 1)
            for tap in LFSR_TAPS:
                new = new ^ sequence[n + tap]
            sequence.append(new)
        with m.If(advance):
            m.d.sync += state.eq(Cat(sequence[-LFSR_WIDTH:]))
        return [Cat(sequence[k * store.shift:(k + 1) * store.shift]) for k in range(self.updaters)]

    @staticmethod
    def _fires(h, theta):
        """Step 3: equality fires."""
        return h >= theta

    def elaborate(self, platform):
        m = Module()
        layer, neuron, units = self.layer, self.layer.neuron, self.updaters
        store, updates = neuron.store, layer.neurons // units
        bias_lo, bias_hi = layer.bias_range
        h_lo, h_hi = neuron.h_range(self.acc_range[0] + bias_lo, self.acc_range[1] + bias_hi)
        h_shape = span(min(h_lo, -1), h_hi)

        # All stages move together; the whole pipeline stands still while its output is refused.
        run = Signal()
        m.d.comb += run.eq(~self.o.valid | self.o.ready)
        stage = data.StructLayout({"valid": 1, "index": self.o.p.index.shape(), "first": 1, "restart": 1,
                                   "group_end": 1, "step_end": 1, "image_end": 1})
        s0 = Signal(stage)
        s1, s2, s3, s4, s5 = (Signal(stage, name=f"s{k}") for k in range(1, DEPTH))
        with m.If(run):
            m.d.sync += [s1.eq(s0), s2.eq(s1), s3.eq(s2), s4.eq(s3), s5.eq(s4)]

        # Cycle 0: count neurons and steps, address the memories.
        index, step = Counter("at_index", updates), Counter("at_step", self.steps)
        channel, lane = Counter("at_channel", layer.shape[2] // units), Counter("at_lane", self.lanes // units)
        accept, settled = Signal(), Signal()
        m.d.comb += [self.i.ready.eq(run & settled), accept.eq(self.i.valid & self.i.ready),
                     s0.valid.eq(accept), s0.index.eq(index.at), s0.first.eq(step.at == 0),
                     s0.restart.eq((step.at == 0) & (index.at == 0)), s0.group_end.eq(lane.last),
                     s0.step_end.eq(index.last), s0.image_end.eq(index.last & step.last)]
        if updates >= DEPTH:
            m.d.comb += settled.eq(1)
        else:
            in_flight = s1.valid | s2.valid | s3.valid | s4.valid | s5.valid
            m.d.comb += settled.eq(~in_flight if updates == 1 else (index.at != 0) | ~in_flight)
        with m.If(accept):
            m.d.sync += index.up + channel.up + lane.up
            with m.If(lane.last):
                m.d.sync += lane.clear
            with m.If(channel.last):
                m.d.sync += channel.clear
            with m.If(index.last):
                m.d.sync += index.clear + step.up
                with m.If(step.last):
                    m.d.sync += step.clear
        m.submodules.membrane = membranes = memory.Memory(
            shape=data.ArrayLayout(span(store.lo, store.hi), units), depth=updates, init=[])
        read, write = membranes.read_port(), membranes.write_port()
        m.d.comb += [read.addr.eq(index.at), read.en.eq(run)]
        theta1 = self._theta_memory(m, accept, run, channel, index, step)
        bias1 = [Const(0, 1)] * units
        if layer.bias is not None:
            m.submodules.bias = biases = memory.Memory(
                shape=data.ArrayLayout(span(min(0, bias_lo), max(0, bias_hi)), units),
                depth=layer.shape[2] // units, init=layer.bias.reshape(-1, units).tolist())
            bias_read = biases.read_port()
            m.d.comb += [bias_read.addr.eq(channel.at), bias_read.en.eq(run)]
            bias1 = list(bias_read.data)
        acc1 = Signal(self.i.payload.shape())
        with m.If(run):
            m.d.sync += acc1.eq(self.i.payload)

        draws = self._draws(m, run & s4.valid, s4.restart)
        fired, codes = Signal(units), Signal(self.o.p.membranes.shape())
        for k in range(units):
            # Cycle 1: leak; acc and bias meet.
            v = Signal(span(min(store.lo << store.shift, -1), store.hi << store.shift), name=f"v{k}")
            leaked, drive, h = (Signal(h_shape, name=f"{n}{k}") for n in ("leaked", "drive", "h"))
            m.d.comb += v.eq(Mux(s1.first, neuron.v_init, read.data[k]).shift_left(store.shift))
            with m.If(run):
                m.d.sync += [leaked.eq(leak(neuron.leak, v)), drive.eq(acc1[k] + bias1[k])]
            # Cycle 2: integrate.
            with m.If(run):
                m.d.sync += h.eq(leaked + drive)
            # Cycle 3: fire; both outcomes of the reset are prepared.
            s, kept, after = Signal(name=f"fire{k}"), Signal(h_shape, name=f"kept{k}"), None
            if theta1[k] is not None:
                theta = theta1[k]
                if not isinstance(theta, Const):
                    theta = self._delayed(m, run, theta, 2, f"theta{k}")
                with m.If(run):
                    m.d.sync += s.eq(self._fires(h, theta))
                if neuron.reset == "soft":
                    after = Signal(h_shape, name=f"after{k}")
                    with m.If(run):
                        m.d.sync += after.eq(h - theta)
                else:
                    after = Const(neuron.v_reset)
            with m.If(run):
                m.d.sync += kept.eq(h)
            # Cycle 4: reset and round.
            r = kept if after is None else Mux(s, after, kept)
            rounded = round_code(store, r, draws[k])
            q = Signal(rounded.shape(), name=f"q{k}")
            with m.If(run):
                m.d.sync += [q.eq(rounded), fired[k].eq(s)]
            # Cycle 5: saturate.
            m.d.comb += codes[k].eq(Mux(q > store.hi, store.hi, Mux(q < store.lo, store.lo, q)))

        # Cycle 5: store, and hand on.
        m.d.comb += [write.addr.eq(s5.index), write.data.eq(codes), write.en.eq(run & s5.valid)]
        with m.If(run):
            m.d.sync += [self.o.valid.eq(s5.valid), self.o.p.spikes.eq(fired), self.o.p.membranes.eq(codes),
                         self.o.p.index.eq(s5.index), self.o.p.group_end.eq(s5.group_end),
                         self.o.p.step_end.eq(s5.step_end), self.o.p.image_end.eq(s5.image_end)]
        return m

    @staticmethod
    def _delayed(m, run, value, cycles, name):
        for n in range(cycles):
            late = Signal.like(value, name=f"{name}_{n}")
            with m.If(run):
                m.d.sync += late.eq(value)
            value = late
        return value

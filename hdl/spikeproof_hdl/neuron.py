"""The five steps of the contract, as a pipeline over the neurons of one or more layers."""
from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from spikeproof.fixed_point import LFSR_TAPS, LFSR_WIDTH, round_floor, round_half_even, round_half_up

from .accumulate import sums_shape
from .codecs import span
from .parts import Banked, Counter, among, claim, fits, pick
from .updates import DEPTH, bias_memories, engine_update, membrane_memories, theta_memories, v_init_memories, waiting_layers

__all__ = ["NeuronUpdate", "leak", "round_code"]


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

    Pipeline: cycle 0 addresses the memories, 1 registers their rows, 2 leaks and adds the bias, 3 integrates, 4 compares,
    5 resets and rounds, 6 saturates and stores. The membrane is ``v_init`` (a constant, or a row of a memory) at the first step
    of an image: nothing is swept. Latency: seven cycles. Throughput: one update a cycle; where a time step has fewer than seven
    updates, the next one waits for the last to be stored, and so does that of a layer with lateral inhibition, which counts the
    spikes of the step before in cycle 5 and takes them off in cycle 2. Back-pressure: all stages stand still together.
    Guard bits: h has the range that the codes prove, so only the store saturates.

    Parameters
    ----------
    layers : list of LayerSpec, computed in turn in every time step
    lanes : list of int, the lanes of each
    acc_range : (lo, hi) of the sums
    steps : int, time steps of an image
    updaters : int
    gated : bool, whether sums come with the state of their gates
    load : None, or (LoadPort, name of the engine) of a core whose memories are loadable

    Members
    -------
    i : In(stream of sums_shape, ``updaters`` lanes)
    o : Out(stream of engine_update)
    """
    def __init__(self, layers, lanes, acc_range, steps, updaters, gated=False, load=None):
        self.layers, self.lanes, self.acc_range, self.steps, self.updaters = layers, lanes, acc_range, steps, updaters
        self.gated, self.load = gated, load
        self.acc_shape = span(*acc_range)
        super().__init__({"i": In(stream.Signature(sums_shape(self.acc_shape, updaters, gated))),
                          "o": Out(stream.Signature(engine_update(layers, updaters)))})

    def _rows(self, m, name, run, at, members, shape, rows, write=None):
        """One memory for the layers at positions ``members`` -> its row, two cycles later.

        ``at`` is the row within each layer (a list), ``rows`` the content of each.
        """
        bases, base = [], 0
        for content in rows:
            bases.append(base)
            base += len(content)
        slot = [members.index(n) if n in members else 0 for n in range(len(self.layers))]
        mine = among(self.layer.at, members, len(self.layers))
        where = pick(m, self.layer.at, [at[slot[n]] + bases[slot[n]] for n in range(len(self.layers))])
        claim(m, "addresses are in range", where < base, self.i.valid & self.i.ready & mine)
        if write is not None:
            enable, target, late, value = write
            target = target + pick(m, late, [bases[slot[n]] for n in range(len(self.layers))])
            owner = among(late, members, len(self.layers))
            write = (enable & owner, target, value)
            claim(m, "addresses are in range", target < base, write[0])
        init = [] if write is not None else [row for content in rows for row in content]
        load = (self.load[0], f"{self.load[1]}.neurons.{name}") if self.load and write is None else None
        return Banked(m, name, base, shape, init, run, where, write, load).row

    def _thetas(self, m, run, accept):
        """Per updater, the thresholds of the layer whose neurons are in cycle 2 (list over layers), or None."""
        units, layers = self.updaters, self.layers
        found = [[None] * len(layers) for _ in range(units)]
        contents, places = [], []
        for n, layer in enumerate(layers):
            theta, at, content = layer.theta, 0, []
            if theta is not None and theta.size == 1:
                for unit in found:
                    unit[n] = Const(int(theta.item()))
            elif theta is not None:
                per_step = theta[0].size                        # 1, the channels, or all neurons
                per_row = 1 if per_step == 1 else units
                content = Banked.pack((theta >> layer.theta_shift).reshape(-1, per_row).tolist(), layer.theta_width)
                at = 0 if per_step == 1 else self.index.at if per_step == layer.neurons else self.channel.at
                if theta.shape[0] > 1:
                    base = Signal(range(max(len(content), 2)), name=f"theta_base{n}")
                    with m.If(accept & self.index.last & (self.layer.at == n)):
                        m.d.sync += base.eq(Mux(self.step.last, 0, base + per_step // per_row))
                    at = base + at
            contents.append(content)
            places.append(at)
        for name, (width, per_row), members in theta_memories(layers, units):
            row = self._rows(m, name, run, [places[n] for n in members], members, width * per_row, [contents[n] for n in members])
            for n in members:
                for k in range(units):
                    word = Value.cast(row).word_select(k if per_row > 1 else 0, width)
                    found[k][n] = Cat(Const(0, layers[n].theta_shift), word)
        return found

    def _words(self, m, run, memories, arrays):
        """Per updater, what the layer whose neurons are in cycle 2 has of something (list over layers).

        Parameters
        ----------
        memories : what :func:`bias_memories` or :func:`v_init_memories` gives
        arrays : list over layers of an int array, one entry per neuron, per channel or (without a memory) for all; None is 0
        """
        units = self.updaters
        found = [[Const(0 if array is None else int(array.flat[0])) for array in arrays] for _ in range(units)]
        for name, shape, members in memories:
            contents = [Banked.pack(arrays[n].reshape(-1, units).tolist(), shape.width) for n in members]
            at = [self.index.at if arrays[n].size == self.layers[n].neurons else self.channel.at for n in members]
            row = self._rows(m, name, run, at, members, shape.width * units, contents)
            for n in members:
                for k in range(units):
                    word = Value.cast(row).word_select(k, shape.width)
                    found[k][n] = word.as_signed() if shape.signed else word
        return found

    def _draws(self, m, advance, late, restart):
        """Per updater, consecutive draws of the LFSR of the layer in cycle 5 (list over layers)."""
        found = [[Const(0, 1)] * len(self.layers) for _ in range(self.updaters)]
        for n, layer in enumerate(self.layers):
            store = layer.neuron.store
            if store.rounding != "stochastic" or store.shift == 0:
                continue
            state, now = Signal(LFSR_WIDTH, init=store.seed, name=f"lfsr{n}"), Signal(LFSR_WIDTH, name=f"lfsr_now{n}")
            m.d.comb += now.eq(Mux(restart, store.seed, state))
            sequence = list(now)
            for k in range(self.updaters * store.shift):
                new = Const(0, 1)
                for tap in LFSR_TAPS:
                    new = new ^ sequence[k + tap]
                sequence.append(new)
            with m.If(advance & (late == n)):
                m.d.sync += state.eq(Cat(sequence[-LFSR_WIDTH:]))
            for k in range(self.updaters):
                found[k][n] = Cat(sequence[k * store.shift:(k + 1) * store.shift])
        return found

    def _inhibition(self, m, run, accept, which2, which5, spikes, s):
        """What the layer in cycle 2 takes off for its spikes of the step before; ``spikes`` are those in cycle 5."""
        held = []
        for n, layer in enumerate(self.layers):
            inhibition = 0 if layer.lateral is None else layer.lateral.inhibition
            if not inhibition:
                held.append(Const(0, 1))
                continue
            spent, off = (Signal(range(layer.inhibition + 1), name=f"{name}{n}") for name in ("spent", "inhibits"))
            count = sum(spikes[1:], spikes[0])
            with m.If(run & s[5].valid & (which5 == n)):
                m.d.sync += spent.eq(spent + count * inhibition)
            with m.If(accept & self._begins([n])):               # nothing is in flight
                m.d.sync += [off.eq(Mux(self.step.at == 0, 0, spent)), spent.eq(0)]
            claim(m, "membranes never overflow", spent <= layer.inhibition)
            held.append(off)
        return pick(m, which2, held)

    def _begins(self, positions):
        """Whether the update that is offered begins a time step of one of some layers."""
        return Value.cast(among(self.layer.at, positions, len(self.layers)))[0] & (self.index.at == 0)

    @staticmethod
    def _fires(h, theta):
        """Step 3: equality fires."""
        return h >= theta

    def elaborate(self, platform):
        m = Module()
        layers, units = self.layers, self.updaters
        stores, neurons = [layer.neuron.store for layer in layers], [layer.neuron for layer in layers]
        updates = [layer.neurons // units for layer in layers]
        ranges = []
        for layer in layers:
            bias_lo, bias_hi = layer.bias_range
            ranges.append(layer.neuron.h_range(min(self.acc_range[0] + bias_lo, 0) - layer.inhibition,
                                               max(self.acc_range[1] + bias_hi, 0)))
        h_shape = span(min(-1, *(lo for lo, _ in ranges)), max(hi for _, hi in ranges))
        # After a reset h may be where integration never takes it.
        after_shape = span(min(-1, *(min(lo, n.v_reset) for (lo, _), n in zip(ranges, neurons))),
                           max(max(hi, n.v_reset) for (_, hi), n in zip(ranges, neurons)))

        # All stages move together; the whole pipeline stands still while its output is refused.
        run = Signal()
        m.d.comb += run.eq(~self.o.valid | self.o.ready)
        stage = data.StructLayout({"valid": 1, "index": self.o.p.index.shape(), "first": 1, "restart": 1,
                                   "group_end": 1, "step_end": 1, "image_end": 1, "layer": self.o.p.layer.shape()})
        s = [Signal(stage, name=f"s{k}") for k in range(DEPTH)]
        with m.If(run):
            m.d.sync += [late.eq(early) for early, late in zip(s, s[1:])]

        # Cycle 0: count neurons, layers and steps, address the memories.
        self.layer = Counter(m, "at_layer", len(layers))
        which = self.layer.at
        self.index, self.step = Counter(m, "at_index", updates, which), Counter(m, "at_step", self.steps)
        self.channel = Counter(m, "at_channel", [layer.shape[2] // units for layer in layers], which)
        lane = Counter(m, "at_lane", [count // units for count in self.lanes], which)
        index, step = self.index, self.step
        accept, settled = Signal(), Signal()
        m.d.comb += [self.i.ready.eq(run & settled), accept.eq(self.i.valid & self.i.ready),
                     s[0].valid.eq(accept), s[0].index.eq(index.at), s[0].first.eq(step.at == 0), s[0].layer.eq(which),
                     s[0].restart.eq((step.at == 0) & (index.at == 0)), s[0].group_end.eq(lane.last),
                     s[0].step_end.eq(index.last), s[0].image_end.eq(index.last & step.last)]
        waits = waiting_layers(layers, units)
        m.d.comb += settled.eq(~self._begins(waits) | ~Cat(late.valid for late in s[1:]).any() if waits else 1)
        with m.If(accept):
            m.d.sync += [*index.step, *self.channel.step, *lane.step]
            with m.If(index.last):
                m.d.sync += self.layer.step
                with m.If(self.layer.last):
                    m.d.sync += step.step

        # Cycle 2: memories' rows are there; leak, and acc meets the bias.
        which2, which4, which5, which6 = ([s[k].layer if len(layers) > 1 else 0 for k in (2, 4, 5, 6)])
        codes = Signal(self.o.p.membranes.shape())
        held = {}
        for name, shape, members in membrane_memories(layers):
            value = Cat(codes[k][:shape.width] for k in range(units))
            row = self._rows(m, name, run, [index.at] * len(members), members, shape.width * units,
                             [range(updates[n]) for n in members], (run & s[6].valid, s[6].index, which6, value))
            for n in members:
                held[n] = [Value.cast(row).word_select(k, shape.width) for k in range(units)]
                if shape.signed:
                    held[n] = [word.as_signed() for word in held[n]]
        thetas = self._thetas(m, run, accept)
        biases = self._words(m, run, bias_memories(layers), [layer.bias for layer in layers])
        initials = self._words(m, run, v_init_memories(layers), [layer.v_init for layer in layers])
        acc = [Signal(self.i.payload.shape(), name=f"acc{k}") for k in (1, 2)]
        with m.If(run):
            m.d.sync += [acc[0].eq(self.i.payload), acc[1].eq(acc[0])]
        draws = self._draws(m, run & s[5].valid, which5, s[5].restart)
        fired = Signal(units)
        spikes = [Signal(name=f"fire{k}") for k in range(units)]
        off = self._inhibition(m, run, accept, which2, which5, spikes, s)
        alone = [n for n, layer in enumerate(layers) if layer.lateral is not None and layer.lateral.one_spike]
        closed = 0                                                  # in cycle 4, whether a neuron before has fired in this step
        if alone:
            taken, only = Signal(), among(which4, alone, len(layers))
            closed = Value.cast(taken & only)
        for k in range(units):
            leaked, drive, h = (Signal(h_shape, name=f"{n}{k}") for n in ("leaked", "drive", "h"))
            leaks = []
            for n, neuron in enumerate(neurons):
                store = neuron.store
                v = Signal(span(min(store.lo << store.shift, -1), store.hi << store.shift), name=f"v{n}_{k}")
                code = Mux(s[2].first, initials[k][n], held[n][k]) if n in held else Const(0)
                m.d.comb += v.eq(code.shift_left(store.shift))
                leaks.append(leak(neuron.leak, v))
            total = acc[1].sums[k] + pick(m, which2, biases[k])
            left, driven = pick(m, which2, leaks), (Mux(acc[1].open[k], total, 0) if self.gated else total) - off
            with m.If(run):
                m.d.sync += [leaked.eq(left), drive.eq(driven)]
            # Cycle 3: integrate.
            with m.If(run):
                m.d.sync += h.eq(leaked + drive)
            claim(m, "membranes never overflow", fits(left, h_shape) & fits(driven, h_shape), s[2].valid)
            claim(m, "membranes never overflow", fits(leaked + drive, h_shape), s[3].valid)
            # Cycle 4: fire; both outcomes of the reset are prepared.
            spike, kept, after = spikes[k], Signal(h_shape, name=f"kept{k}"), Signal(after_shape, name=f"after{k}")
            fires = [n for n, layer in enumerate(layers) if layer.theta is not None]
            if fires:
                theta = pick(m, which2, [Const(0, 1) if theta is None else theta for theta in thetas[k]])
                theta = self._delayed(m, run, theta, 2, f"theta{k}")
                able = among(which4, fires, len(layers))
                reached = self._fires(h, theta) & able
                with m.If(run):
                    m.d.sync += spike.eq(reached & ~closed if alone else reached)
                if alone:
                    closed = closed | (reached & only)
                subtracted = h - theta
                with m.If(run):
                    m.d.sync += after.eq(pick(m, which4, [subtracted if n.reset == "soft" else Const(n.v_reset) for n in neurons]))
            with m.If(run):
                m.d.sync += kept.eq(h)
            # Cycle 5: reset and round.
            r = Mux(spike, after, kept) if fires else kept
            roundings = [(st.rounding, st.shift, n if st.rounding == "stochastic" else 0) for n, st in enumerate(stores)]
            made = {key: round_code(store, r, draws[k][n]) for n, (key, store) in enumerate(zip(roundings, stores))}
            rounded = pick(m, which5, [made[key] for key in roundings])
            q = Signal(Value.cast(rounded).shape(), name=f"q{k}")
            with m.If(run):
                m.d.sync += [q.eq(rounded), fired[k].eq(spike)]
            # Cycle 6: saturate.
            lo, hi = pick(m, which6, [store.lo for store in stores]), pick(m, which6, [store.hi for store in stores])
            m.d.comb += codes[k].eq(Mux(q > hi, hi, Mux(q < lo, lo, q)))
            claim(m, "membranes never overflow", (codes[k] >= lo) & (codes[k] <= hi), s[6].valid)

        if alone:
            with m.If(run & s[4].valid & closed):
                m.d.sync += taken.eq(1)
            with m.If(accept & self._begins(alone)):
                m.d.sync += taken.eq(0)

        # Cycle 6: store, and hand on.
        with m.If(run):
            m.d.sync += [self.o.valid.eq(s[6].valid), self.o.p.spikes.eq(fired), self.o.p.membranes.eq(codes),
                         *(self.o.p[name].eq(s[6][name]) for name in ("index", "group_end", "step_end", "image_end", "layer"))]
        return m

    @staticmethod
    def _delayed(m, run, value, cycles, name):
        if isinstance(value, Const):
            return value
        for n in range(cycles):
            late = Signal.like(Value.cast(value), name=f"{name}_{n}")
            with m.If(run):
                m.d.sync += late.eq(value)
            value = late
        return value

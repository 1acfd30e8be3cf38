"""Frame memory and window walk: from maps of spikes to the words that one group of neurons sees."""
from amaranth.hdl import Cat, Module, Mux, Shape, Signal
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .frames import Frames
from .layout import QUEUE
from .parts import Counter, among, claim, pick
from .pool import MaxPool

__all__ = ["Gather", "token_shape"]

def token_shape(spikes, rows, offset, align=0, negates=False, gate=0, frames=False):
    """Some spikes of one bit plane: neighbours of one word, or none where only the flags matter.

    Bit i stands for weight row ``(row + offset) * 2**align + i``. ``plane_end`` marks the last token of a bit plane, ``end``
    the last of the last plane, that is of a group of lanes; ``negative`` a plane whose weights are subtracted; ``gate``
    holds the open gates of the group's lanes; ``frame_end`` marks the last token of a frame. The last three are there where
    needed.
    """
    return data.StructLayout({
        "spikes": spikes, "row": range(max(-(-rows >> align), 2)), "offset": range(max(offset + 1, 2)), "plane_end": 1, "end": 1,
        **({"negative": 1} if negates else {}), **({"gate": gate} if gate else {}), **({"frame_end": 1} if frames else {})})


class Gather(wiring.Component):
    """Keeps the maps that some projections read, and replays the spikes that reach each group of neurons.

    For each pass in turn, when its map is complete: output positions in row-major order; at each, the groups of lanes; for
    each, the bit planes of the codes from the highest; for each, the window's rows of words in the order of the weight
    rows. A sum pool is a window ``pool`` times as large, whose positions share weight rows. A group whose gates are all
    closed is not walked: it costs two cycles, as every position does at least.

    Two nested machines: the *position* (output position, group of lanes, gates) is prepared while the *window* of the one
    before is walked. Then a row of words is fetched, its bit plane selected, and its spikes handed on, up to 16 neighbours
    at a time; silence is skipped.

    Throughput: a row of words a cycle while at most one part of it has spikes. Back-pressure: ``o`` is a queue of four
    tokens; everything before it waits. Latency: seven cycles from a full frame to the first token.

    Parameters
    ----------
    plan : GatherPlan
    steps : int, time steps of an image
    rows : int, of the weight memories
    frames : bool, whether tokens mark the end of a frame

    Members
    -------
    i0, i1, ... : In(stream of map_word), one per store
    g0, g1, ... : In(stream of map_word), one per store of gates
    o : Out(stream of token_shape)
    """
    def __init__(self, plan, steps, rows, frames=False):
        self.plan, self.steps, self.mark_frames = plan, steps, frames
        self.passes = plan.passes
        self.stores = [Frames(store) for store in plan.stores]
        self.gates = [Frames(store, asynchronous=True) for store in plan.gates]
        self.fetch, self.cuts, self.part, self.align = plan.fetch, plan.cuts, plan.part, plan.align
        self.parts = [[offset >> self.align for offset in plan.offsets(p)] for p in plan.passes]
        lanes = max(p.lanes for p in self.passes)
        self.gate_lanes = lanes if plan.gates else 0
        payload = token_shape(self.part, rows, max(max(row) for row in self.parts), self.align,
                              any(p.signed for p in self.passes), self.gate_lanes, frames)
        members = {f"i{n}": In(stream.Signature(store.word)) for n, store in enumerate(self.stores)}
        members |= {f"g{n}": In(stream.Signature(store.word)) for n, store in enumerate(self.gates)}
        super().__init__({**members, "o": Out(stream.Signature(payload))})

    def _region(self, p):
        return self.plan.region(p)

    def elaborate(self, platform):
        m = Module()
        passes = self.passes
        for kind, stores in (("store", self.stores), ("gates", self.gates)):
            for n, store in enumerate(stores):
                name = kind if len(stores) == 1 else f"{kind}{n}"
                m.submodules[name] = store
                source, regions = wiring.flipped(getattr(self, f"{'i' if kind == 'store' else 'g'}{n}")), store.store.regions
                if any(region.pool > 1 for region in regions):
                    m.submodules[f"{name}_pool"] = pool = MaxPool(regions, store.width)
                    wiring.connect(m, source, pool.i)
                    source = pool.o
                wiring.connect(m, source, store.i)

        # The pass whose positions are prepared, and whether its maps are complete.
        turn = Counter(m, "at_pass", len(passes))
        step = Counter(m, "at_step", self.steps if any(p.constant for p in passes) else 1)
        full = Signal()
        m.d.comb += full.eq(pick(m, turn.at, [self._full(p) for p in passes]))

        taken, finished = Signal(), Signal()
        self.window_last = Signal(name="window_last")
        position, valid = self._positions(m, full, taken, finished, turn)
        issue, room, fetched = Signal(), Signal(), {}
        self._window(m, position, valid, taken, finished, issue, room, fetched, turn)
        self._release(m, finished & fetched["last"], turn, step)
        self._parts(m, issue, room, fetched)
        return m

    def _full(self, p):
        full = self.stores[p.store].full[p.region]
        return full if p.gate is None else full & self.gates[p.gate[0]].full[p.gate[1]]

    def _release(self, m, done, turn, step):
        """A frame was walked for the last time."""
        for n, p in enumerate(self.passes):
            over = done & (turn.at == n) & (step.last if p.constant else 1)
            if p.release:
                m.d.comb += self.stores[p.store].release[p.region].eq(over)
            if p.gate is not None and p.release_gate:
                m.d.comb += self.gates[p.gate[0]].release[p.gate[1]].eq(done & (turn.at == n))
        with m.If(done):
            m.d.sync += turn.step
            with m.If(turn.last):
                m.d.sync += step.step

    def _base(self, store, region):
        """First row of the frame that is walked."""
        return store.base if len(store.store.regions) == 1 else store.bases[region]

    def _positions(self, m, full, taken, finished, turn):
        """The outer machine -> (fields of the next window, whether they are valid)."""
        passes, select = self.passes, turn.at
        regions = [self._region(p) for p in passes]
        maps = [p.projection.output_map(region.shape) for p, region in zip(passes, regions)]
        bits = self.address_bits = max(ceil_log2(max(store.depth, 2)) for store in self.stores)
        row_shape = self.o.p.row.shape()

        def each(value):
            return pick(m, select, [value(p, region) for p, region in zip(passes, regions)])

        groups = [p.projection.out_channels // p.lanes for p in passes]
        group = Counter(m, "at_group", groups, select)
        # Groups of lanes that share input channels, and groups of a grouped convolution that share a word.
        grouped = any(p.projection.groups > 1 for p in passes)
        member = Counter(m, "at_member", [n // p.projection.groups for n, p in zip(groups, passes)] if grouped else 1, select)
        part = Counter(m, "at_part", [max(1, region.word // (region.shape[2] // p.projection.groups)) if p.projection.groups > 1
                                   else 1 for p, region in zip(passes, regions)], select)
        ox, oy = Counter(m, "at_ox", [w for _, w in maps], select), Counter(m, "at_oy", [h for h, _ in maps], select)

        # Addresses of the window, of its first group and of its line; they may run below 0 in the padding, and are right
        # again, modulo 2^bits, inside the map. Weight rows of the group; rows by which bit 0 lies before it.
        a_group, a_window, a_line = (Signal(bits, name=f"a_{name}") for name in ("group", "window", "line"))
        row = Signal(row_shape, name="r_group")
        before = Signal(row_shape) if grouped else 0
        idle, spent, advance = Signal(init=1), Signal(), Signal()
        m.d.sync += advance.eq(taken)
        stride = each(lambda p, region: p.projection.stride * p.projection.pool * region.fetches)
        line = each(lambda p, region: p.projection.stride * p.projection.pool * region.fetches * region.shape[1])
        first = pick(m, select, [self._base(self.stores[p.store], p.region) for p in passes]) \
            - each(lambda p, region: p.projection.padding * p.projection.pool * (region.shape[1] + 1) * region.fetches)
        group_rows = each(lambda p, region: _group_rows(p) >> self.align)
        last_group = Signal()
        m.d.comb += last_group.eq(group.last)

        padded = any(p.projection.padding for p in passes)
        x, y = 0, 0
        if padded:
            reach = max(max(region.shape[:2]) + (p.projection.padding + max(p.projection.kernel)) * p.projection.pool
                        for p, region in zip(passes, regions))
            shape = self.coordinate = Shape(ceil_log2(reach + 1) + 1, signed=True)
            x, y = Signal(shape, name="x_window"), Signal(shape, name="y_window")
        pad = each(lambda p, region: p.projection.padding * p.projection.pool)
        pixels = each(lambda p, region: p.projection.stride * p.projection.pool)
        gate, advance_gate, start_gate = self._gate(m, turn, ox, oy, group)

        with m.If(idle & full):
            m.d.sync += [idle.eq(0), spent.eq(0), a_group.eq(first), a_window.eq(first), a_line.eq(first),
                         row.eq(pick(m, select, [p.row >> self.align for p in passes])), *start_gate]
            if padded:
                m.d.sync += [x.eq(-pad), y.eq(-pad)]
        with m.If(advance):
            m.d.sync += [*group.step, row.eq(row + group_rows), *advance_gate]
            if grouped:
                with m.If(member.last):
                    m.d.sync += [*part.step, *member.clear, before.eq(before + each(
                        lambda p, region: p.projection.weights.shape[2] >> self.align if p.projection.groups > 1 else 0))]
                    with m.If(part.last):
                        m.d.sync += [before.eq(0), a_group.eq(a_group + each(lambda p, region: _group_fetches(p, region)))]
                with m.Else():
                    m.d.sync += member.up
            with m.If(last_group):
                m.d.sync += [*ox.step, row.eq(pick(m, select, [p.row >> self.align for p in passes])),
                             a_group.eq(a_window + stride), a_window.eq(a_window + stride)]
                if grouped:
                    m.d.sync += [before.eq(0), *part.clear, *member.clear]
                if padded:
                    m.d.sync += x.eq(x + pixels)
                with m.If(ox.last):
                    m.d.sync += [*oy.step, a_group.eq(a_line + line), a_window.eq(a_line + line), a_line.eq(a_line + line)]
                    if padded:
                        m.d.sync += [x.eq(-pad), y.eq(y + pixels)]
                    with m.If(oy.last):
                        m.d.sync += spent.eq(1)
        with m.If(finished & self.window_last):
            m.d.sync += idle.eq(1)
        fields = {"address": a_group, "row": row, "before": before, "x": x, "y": y, "part": part.at, "gate": gate,
                  "last": last_group & ox.last & oy.last}
        return fields, ~idle & ~spent & ~advance

    def _gate(self, m, turn, ox, oy, group):
        """(open gates of the group's lanes or None, statements at each group, statements at a frame's start)."""
        if not self.gates:
            return None, [], []
        select, passes = turn.at, self.passes
        opens = []
        held = [None if p.gate is None else self.plan.gates[p.gate[0]].regions[p.gate[1]] for p in passes]
        maps = [p.projection.output_map(self._region(p).shape) for p in passes]
        blocks = [(1, 1) if region is None else (size[0] // region.shape[0], size[1] // region.shape[1])
                  for region, size in zip(held, maps)]
        x, y = Counter(m, "gate_x", [b for _, b in blocks], select), Counter(m, "gate_y", [b for b, _ in blocks], select)
        bits = max(ceil_log2(max(store.depth, 2)) for store in self.gates)
        at, row, line = (Signal(bits, name=f"gate_{name}") for name in ("at", "row", "line"))
        words = [1 if region is None else region.words for region in held]
        per_group = [int(region is not None and region.shape[2] > 1) for region in held]
        across = [0 if region is None else region.words * region.shape[1] for region in held]
        base = pick(m, select, [0 if p.gate is None else self._base(self.gates[p.gate[0]], p.gate[1]) for p in passes])
        # Statements in the order of the machine: every group; a position's last group; a line's last position.
        next_at, next_row, next_line = (Signal(bits, name=f"next_gate_{name}") for name in ("at", "row", "line"))
        m.d.comb += [next_at.eq(at + pick(m, select, per_group)), next_row.eq(row), next_line.eq(line)]
        with m.If(group.last):
            m.d.comb += [next_row.eq(Mux(x.last, row + pick(m, select, words), row)), next_at.eq(next_row)]
            with m.If(ox.last):
                m.d.comb += [next_line.eq(Mux(y.last, line + pick(m, select, across), line)), next_row.eq(next_line),
                             next_at.eq(next_line)]
        advance = [at.eq(next_at), row.eq(next_row), line.eq(next_line)]
        if x.step:
            advance.append(x.at.eq(Mux(group.last, Mux(x.last | ox.last, 0, x.at + 1), x.at)))
        if y.step:
            advance.append(y.at.eq(Mux(group.last & ox.last, Mux(y.last | oy.last, 0, y.at + 1), y.at)))
        start = [at.eq(base), row.eq(base), line.eq(base)]
        for p, region in zip(passes, held):
            if region is None:
                opens.append((1 << self.gate_lanes) - 1)
                continue
            store = self.gates[p.gate[0]]
            opens.append(store.row[:p.lanes] if region.shape[2] > 1 else store.row[0].replicate(p.lanes))
        for store in self.gates:
            m.d.comb += store.address.eq(at)
        gate = Signal(self.gate_lanes, name="gate")
        m.d.comb += gate.eq(pick(m, select, opens))
        return gate, advance, start

    def _window(self, m, position, valid, taken, finished, issue, room, fetched, turn):
        """The inner machine: the rows of words of one window, bit plane by bit plane."""
        passes, select = self.passes, turn.at
        regions = [self._region(p) for p in passes]
        row_shape = self.o.p.row.shape()

        def each(value):
            return pick(m, select, [value(p, region) for p, region in zip(passes, regions)])

        busy, last, skip = Signal(), self.window_last, Signal()
        word = Counter(m, "at_word", [_group_fetches(p, region) for p, region in zip(passes, regions)], select)
        kx = Counter(m, "at_kx", [p.projection.kernel[1] * p.projection.pool for p in passes], select)
        ky = Counter(m, "at_ky", [p.projection.kernel[0] * p.projection.pool for p in passes], select)
        pools = [p.projection.pool for p in passes]
        px, py = Counter(m, "at_pool_x", pools, select), Counter(m, "at_pool_y", pools, select)
        plane = Counter(m, "at_plane", [p.bits for p in passes], select)
        pooled = max(pools) > 1

        # Where there is but one output position, one bit plane and a 1x1 kernel, weight rows are read in their order.
        ordered = len(passes) == 1 and not self.gates and passes[0].bits == 1 and passes[0].projection.groups == 1 \
            and passes[0].projection.kernel == (1, 1) and not pooled \
            and passes[0].projection.output_map(regions[0].shape) == (1, 1)

        bits = self.address_bits
        a, a_row, a_first = (Signal(bits, name=f"a_{name}") for name in ("word", "row", "first"))
        r = Signal(row_shape, name="r_word", init=passes[0].row >> self.align if ordered else 0)
        r_column, r_kernel, r_first = (Signal(row_shape, name=f"r_{name}") for name in ("column", "kernel", "first"))
        part = Signal.like(position["part"], name="part") if isinstance(position["part"], Signal) else 0
        gate = Signal.like(position["gate"], name="window_gate") if position["gate"] is not None else None
        padded = isinstance(position["x"], Signal)
        x = y = x_first = y_first = 0
        if padded:
            x, y, x_first, y_first = (Signal(self.coordinate, name=name) for name in ("x", "y", "x_first", "y_first"))

        window_end = Signal()
        m.d.comb += [issue.eq(busy & room), window_end.eq(word.last & kx.last & ky.last),
                     finished.eq(issue & (window_end & plane.last | skip)), taken.eq(valid & (~busy | finished))]

        channels = each(lambda p, region: p.pitch >> self.align)
        row_fetches = each(lambda p, region: region.fetches)
        group_fetches = each(_group_fetches)
        full_row = each(lambda p, region: region.fetch * region.word >> self.align)
        tail = each(lambda p, region: p.pitch - (_group_fetches(p, region) - 1) * region.fetch * region.word >> self.align)
        across = each(lambda p, region: region.shape[1] * region.fetches)
        kernel_row = each(lambda p, region: p.projection.kernel[1] * p.pitch >> self.align)

        def to(target, *signals):
            return [s.eq(target) for s in signals]

        with m.If(issue & ~skip):
            m.d.sync += [*word.step, a.eq(a + 1), r.eq(r + full_row)]
            with m.If(word.last):
                m.d.sync += [*kx.step, a.eq(a + row_fetches - group_fetches + 1), r.eq(r + tail)]
                if padded:
                    m.d.sync += x.eq(x + 1)
                if pooled:
                    m.d.sync += [*px.step, r.eq(r_column)]
                    with m.If(px.last):
                        m.d.sync += to(r_column + channels, r, r_column)
                with m.If(kx.last):
                    m.d.sync += [*ky.step, *to(a_row + across, a, a_row)]
                    if padded:
                        m.d.sync += [x.eq(x_first), y.eq(y + 1)]
                    if pooled:
                        m.d.sync += [*py.step, *to(r_kernel, r, r_column)]
                        with m.If(py.last):
                            m.d.sync += to(r_kernel + kernel_row, r, r_column, r_kernel)
            with m.If(window_end):
                m.d.sync += [*plane.step, *to(a_first, a, a_row), *([] if ordered else to(r_first, r, r_column, r_kernel))]
                if padded:
                    m.d.sync += [x.eq(x_first), y.eq(y_first)]
        with m.If(finished):
            m.d.sync += busy.eq(0)
        if ordered:
            with m.If(finished & last):
                m.d.sync += r.eq(passes[0].row >> self.align)
        with m.If(taken):
            m.d.sync += [busy.eq(1), last.eq(position["last"]), *to(position["address"], a, a_row, a_first)]
            if not ordered:
                m.d.sync += to(position["row"] - position["before"], r, r_column, r_kernel, r_first)
            if padded:
                m.d.sync += [*to(position["x"], x, x_first), *to(position["y"], y, y_first)]
            if isinstance(part, Signal):
                m.d.sync += part.eq(position["part"])
            if gate is not None:
                m.d.sync += [gate.eq(position["gate"]), skip.eq(position["gate"] == 0)]

        inside = 1
        if padded:
            height, width = each(lambda p, region: region.shape[0]), each(lambda p, region: region.shape[1])
            inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        for n, store in enumerate(self.stores):
            mine = [k for k, p in enumerate(passes) if p.store == n]
            of_store = among(select, mine, len(passes))
            claim(m, "addresses are in range", a < store.depth, issue & inside & ~skip & of_store)
        fetched.update(row=r, last=last, inside=inside & ~skip, tail=word.last, first_plane=plane.at == 0, address=a,
                       plane=pick(m, select, [p.bits - 1 for p in passes]) - plane.at, part=part, gate=gate,
                       plane_end=window_end | skip, end=window_end & plane.last | skip)
        if isinstance(select, Signal):
            fetched["pass"] = select
        if gate is None:
            del fetched["gate"]

    def _parts(self, m, issue, room, fetched):
        """Fetch rows of words, select their bit plane, and queue the parts that have spikes."""
        passes = self.passes
        count = self.fetch * self.cuts
        several = len(passes) > 1
        m.submodules.queue = queue = fifo.SyncFIFO(width=Shape.cast(self.o.payload.shape()).width, depth=QUEUE)
        for store in self.stores:
            m.d.comb += [store.en.eq(issue), store.address.eq(fetched["address"])]

        # Cycle 1: the row is on the memory's output.
        have1, have2, have3 = (Signal(name=f"have{k}") for k in (1, 2, 3))
        move1, move2, done = (Signal(name=name) for name in ("move1", "move2", "done"))
        parts = max([1, *(self._region(p).word // p.projection.weights.shape[2] for p in passes if p.projection.groups > 1)])
        flags = {"row": self.o.p.row.shape(), "plane_end": 1, "end": 1, "last": 1, "first_plane": 1, "gate": self.gate_lanes,
                 "pass": range(max(len(passes), 2))}
        meta = Signal(data.StructLayout({**flags, "inside": 1, "tail": 1, "part": range(max(parts, 2)),
                                         "plane": range(max(max(p.bits for p in passes), 2))}))
        m.d.comb += [move2.eq(have2 & (~have3 | done)), move1.eq(have1 & (~have2 | move2)), room.eq(~have1 | move1)]
        with m.If(room):
            m.d.sync += have1.eq(issue)
        with m.If(issue):
            m.d.sync += [meta[field].eq(value) for field, value in fetched.items() if field in dict(meta.shape())]

        # Cycle 2: its bit plane, and which of its spikes belong to the window.
        select = meta["pass"] if several else None
        held = Signal(data.ArrayLayout(self.part, count))
        silent = {}
        for n in range(self.fetch):
            for j in range(self.cuts * self.part):
                bit = held[n * self.cuts + j // self.part][j % self.part]
                with m.If(move1):
                    m.d.sync += bit.eq(pick(m, select, [self._code_bit(meta, p, n, j) for p in passes]))
                # What does not belong to the window is cleared: a reset, which costs no logic.
                why = tuple(self._silent_where(p, n, j) for p in passes)
                if why not in silent:
                    silent[why] = Signal(name=f"silent{len(silent)}")
                    where = {"never": 0, "always": 1, "tail": meta.tail}
                    m.d.comb += silent[why].eq(move1 & (~meta.inside | pick(m, select, [
                        where[w] if w in where else meta.part != w for w in why])))
                with m.If(silent[why]):
                    m.d.sync += bit.eq(0)
        with m.If(move2):
            m.d.sync += have2.eq(0)
        late = [Signal(data.StructLayout(flags), name=f"late{k}") for k in range(2)]
        with m.If(move1):
            m.d.sync += [have2.eq(1), *(late[0][field].eq(meta[field]) for field in flags)]

        # Cycle 3: its parts, one a cycle; a row that is silent and ends nothing goes no further.
        spikes, pending, rest = Signal(held.shape()), Signal(count), Signal(count)
        spoken = Cat(held[n].any() for n in range(count))
        m.d.comb += [rest.eq(pending & (pending - 1)), queue.w_en.eq(have3), done.eq(have3 & (rest == 0) & queue.w_rdy)]
        with m.If(have3 & queue.w_rdy):
            m.d.sync += pending.eq(rest)
        with m.If(done):
            m.d.sync += have3.eq(0)
        with m.If(move2):
            m.d.sync += [have3.eq(spoken.any() | late[0].plane_end), pending.eq(spoken), spikes.eq(held), late[1].eq(late[0])]
        token, end = Signal(self.o.payload.shape()), late[1]
        offsets = [[offsets[n] for offsets in self.parts] for n in range(count)]
        select = end["pass"] if several else None
        for n in reversed(range(count)):
            offset = pick(m, select, offsets[n])
            with m.If(pending[n] if n < count - 1 else 1):
                m.d.comb += [token.spikes.eq(spikes[n]), token.offset.eq(offset)]
        m.d.comb += [token.row.eq(end.row), token.plane_end.eq(end.plane_end & (rest == 0)), token.end.eq(end.end & (rest == 0))]
        if any(p.signed for p in passes):
            m.d.comb += token.negative.eq(end.first_plane & pick(m, select, [int(p.signed) for p in passes]))
        if self.gates:
            m.d.comb += token.gate.eq(end.gate)
        if self.mark_frames:
            m.d.comb += token.frame_end.eq(end.last & end.end & (rest == 0))
        m.d.comb += [queue.w_data.eq(token.as_value()), self.o.valid.eq(queue.r_rdy),
                     self.o.payload.eq(queue.r_data), queue.r_en.eq(self.o.ready)]

    def _code_bit(self, meta, p, n, j):
        """The selected bit of code ``j`` of word ``n`` of a row."""
        region, store = self._region(p), self.stores[p.store]
        if n >= region.fetch or j >= region.word:
            return 0
        code = store.row[n * store.width + j * p.bits:n * store.width + (j + 1) * p.bits]
        return code.bit_select(meta.plane, 1) if p.bits > 1 else code

    def _silent_where(self, p, n, j):
        """When code ``j`` of word ``n`` is not the window's: "never", "always", in the "tail" of a pixel, or but in a part."""
        region = self._region(p)
        channels, at = p.projection.weights.shape[2], n * region.word + j
        if n >= region.fetch or j >= region.word:
            return "always"
        if p.projection.groups > 1 and channels < region.word:
            return j // channels
        tail = channels - (_group_fetches(p, region) - 1) * region.fetch * region.word
        return "tail" if at >= tail else "never"


def _group_rows(p):
    """Row numbers of a group of lanes."""
    return p.projection.kernel[0] * p.projection.kernel[1] * p.pitch


def _group_fetches(p, region):
    """Rows of a pixel that one group of a grouped convolution reads; all of them if it is not grouped."""
    return -(-p.projection.weights.shape[2] // (region.fetch * region.word))

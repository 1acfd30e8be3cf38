"""Frame memory and window walk: from a map of spikes to the words that one group of neurons sees."""
from amaranth.hdl import Module, Mux, Shape, Signal, unsigned
from amaranth.lib import data, fifo, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

__all__ = ["FrameWord", "Gather", "Token"]

QUEUE = 4


class FrameWord(data.ArrayLayout):
    """``word`` neighbouring channels of one pixel, ``bits`` each; the lowest channel in the low bits."""
    def __init__(self, word, bits):
        super().__init__(unsigned(bits), word)


class Token(data.StructLayout):
    """One bit plane of a word that is not silent, or that ends a plane.

    ``row`` is the weight row of its bit 0; ``plane_end`` marks the last word of a bit plane, ``end`` the
    last word of the last plane, that is of the group.
    """
    def __init__(self, word, rows):
        super().__init__({"spikes": word, "row": range(max(rows, 2)), "plane_end": 1, "end": 1})


class Counter:
    """A counter of 0 .. size-1 that is there only if it counts to more than one.

    ``at`` is its value, ``last`` whether that is size-1; ``up`` and ``clear`` are lists of statements.
    """
    def __init__(self, name, size):
        self.at, self.last, self.up, self.clear = 0, 1, [], []
        if size > 1:
            self.at = Signal(range(size), name=name)
            self.last = self.at == size - 1
            self.up, self.clear = [self.at.eq(self.at + 1)], [self.at.eq(0)]


class Gather(wiring.Component):
    """Keeps two frames and replays, for each output position and group of lanes, the spikes that reach it.

    One bank fills while the other is walked: output positions in row-major order; at each, the groups of
    lanes; for each, the bit planes of the input from the highest; for each, the window's words in the order
    of the weight rows. A sum pool is a window ``pool`` times as large, whose positions share weight rows.

    Throughput: one word a cycle. Silent words are dropped here. Back-pressure: ``o`` is a queue of four
    tokens; no token is lost. Latency: three cycles from a full frame to the first token.

    Parameters
    ----------
    projection : Projection, pool_kind "sum"; where it has groups, their input channels fill whole words, or
        whole groups fill a word
    source_shape : (height, width, channels)
    word : int, channels of one word of ``i``
    bits : int, of an input code
    lanes : int, output channels of one group
    repeat : int, how often a frame is replayed before it is released (constant input: steps)

    Members
    -------
    i : In(stream of FrameWord), pixels in row-major order, ceil(channels / word) words each
    o : Out(stream of Token)
    """
    def __init__(self, projection, source_shape, word, bits, lanes, repeat):
        self.projection, self.source_shape = projection, source_shape
        self.word, self.bits, self.lanes, self.repeat = word, bits, lanes, repeat
        self.words = -(-source_shape[2] // word)                # of a pixel
        self.group_channels = source_shape[2] // projection.groups
        self.group_words = -(-self.group_channels // word)      # of a pixel, in one group of a grouped convolution
        self.frame_words = source_shape[0] * source_shape[1] * self.words
        kernel_h, kernel_w = projection.kernel
        self.group_rows = kernel_h * kernel_w * self.group_channels
        self.groups = projection.out_channels // lanes
        self.rows = self.groups * self.group_rows
        super().__init__({"i": In(stream.Signature(FrameWord(word, bits))),
                          "o": Out(stream.Signature(Token(word, self.rows)))})

    def elaborate(self, platform):
        m = Module()
        frame, depth = self.frame_words, 2 * self.frame_words
        m.submodules.frames = frames = memory.Memory(shape=unsigned(self.word * self.bits), depth=depth, init=[])
        write, read = frames.write_port(), frames.read_port()
        full = Signal(2)
        self._fill(m, write, full, frame)

        # Cycle 0: address. The walk advances by one word wherever the queue has room for all in flight.
        m.submodules.queue = queue = fifo.SyncFIFO(width=Shape.cast(self.o.payload.shape()).width, depth=QUEUE)
        issue, bank = Signal(), Signal()
        fetched, selected = Signal(), Signal()
        m.d.comb += [issue.eq(full.bit_select(bank, 1) & (queue.level + fetched + selected < QUEUE)),
                     read.en.eq(issue)]
        walk = self._walk(m, issue, bank, full)
        m.d.comb += read.addr.eq(walk["address"])

        # Cycle 1: the word is on the memory's output.
        m.d.sync += fetched.eq(issue)
        parts = max(1, self.word // self.group_channels)        # groups that share a word
        meta = Signal(data.StructLayout({"row": self.o.p.row.shape(), "plane_end": 1, "end": 1, "inside": 1,
                                         "short": 1, "plane": range(max(self.bits, 2)), "part": range(max(parts, 2))}))
        with m.If(issue):
            m.d.sync += [meta[field].eq(walk[field]) for field in ("row", "plane_end", "end", "inside", "plane", "short", "part")]

        # Cycle 2: its bit plane; words that are silent and end nothing go no further.
        plane = Signal(self.word)
        for j in range(self.word):
            codes = read.data.word_select(j, self.bits)
            if parts > 1:
                used = meta.part == j // self.group_channels
            else:
                used = ~meta.short if j >= self.source_shape[2] - (self.words - 1) * self.word else 1
            m.d.comb += plane[j].eq(codes.bit_select(meta.plane, 1) & meta.inside & used)
        token = Signal(self.o.payload.shape())
        m.d.sync += selected.eq(fetched & (plane.any() | meta.plane_end))
        m.d.sync += [token.spikes.eq(plane), token.row.eq(meta.row),
                     token.plane_end.eq(meta.plane_end), token.end.eq(meta.end)]

        m.d.comb += [queue.w_en.eq(selected), queue.w_data.eq(token.as_value()),
                     self.o.valid.eq(queue.r_rdy), self.o.payload.eq(queue.r_data), queue.r_en.eq(self.o.ready)]
        return m

    def _fill(self, m, write, full, frame):
        """Write arriving words; a bank is full with its last word."""
        at, bank = Signal(range(2 * frame)), Signal()
        m.d.comb += [self.i.ready.eq(~full.bit_select(bank, 1)), write.addr.eq(at),
                     write.data.eq(self.i.payload.as_value()), write.en.eq(self.i.valid & self.i.ready)]
        with m.If(write.en):
            m.d.sync += at.eq(at + 1)
            with m.If(at == Mux(bank, 2 * frame - 1, frame - 1)):
                m.d.sync += [full.bit_select(bank, 1).eq(1), bank.eq(~bank)]
                with m.If(bank):
                    m.d.sync += at.eq(0)

    def _walk(self, m, issue, bank, full):
        """The nested counters of the replay; each is there only if it counts to more than one."""
        p, width, words = self.projection, self.source_shape[1], self.words
        channels, group_words = self.group_channels, self.group_words
        pool, pad, stride = p.pool, p.padding * p.pool, p.stride * p.pool
        kernel_h, kernel_w = p.kernel
        out_h, out_w = p.output_map(self.source_shape)
        bits = ceil_log2(2 * self.frame_words)
        row_shape = self.o.p.row.shape()

        word, kx, ky = Counter("at_word", group_words), Counter("at_kx", kernel_w * pool), Counter("at_ky", kernel_h * pool)
        px, py = Counter("at_pool_x", pool), Counter("at_pool_y", pool)
        plane, group = Counter("at_plane", self.bits), Counter("at_group", self.groups)
        # Groups of lanes that share input channels, and groups of a grouped convolution that share a word.
        member, part = Counter("at_member", self.groups // p.groups), Counter("at_part", max(1, self.word // channels))
        ox, oy, repeat = Counter("at_ox", out_w), Counter("at_oy", out_h), Counter("at_repeat", self.repeat)

        # Addresses: of the word, of its window row, of the window, of the window at the line's start.
        # They may run below 0 in the padding; they are right again, modulo 2^bits, inside the map.
        first = -(pad * width + pad) * words
        a, a_row, a_group, a_window, a_line = (Signal(bits, init=first % (1 << bits), name=f"a_{n}")
                                               for n in ("word", "row", "group", "window", "line"))
        # Weight rows: of the word, of its kernel column, kernel row and group.
        r, r_column, r_kernel, r_group = (Signal(row_shape, name=f"r_{n}") for n in ("word", "column", "kernel", "group"))
        r_part = Signal(row_shape)              # rows that the word's bit 0 lies before its group's first channel
        inside = self._bounds(m, issue, pad, stride, word, kx, ky, plane, group, ox, oy)

        def to(target, *signals):
            return [s.eq(target) for s in signals]

        window_end = Signal()
        m.d.comb += window_end.eq(word.last & kx.last & ky.last)
        with m.If(issue):
            m.d.sync += [*word.up, a.eq(a + 1), r.eq(r + self.word)]
            with m.If(word.last):
                m.d.sync += [*word.clear, *kx.up, a.eq(a + (words - group_words + 1)),
                             r.eq(r + (channels - (group_words - 1) * self.word))]
                if pool > 1:
                    m.d.sync += [*px.up, r.eq(r_column)]
                    with m.If(px.last):
                        m.d.sync += [*px.clear, *to(r_column + channels, r, r_column)]
            with m.If(word.last & kx.last):
                m.d.sync += [*kx.clear, *ky.up, *to(a_row + width * words, a, a_row)]
                if pool > 1:
                    m.d.sync += [*py.up, *to(r_kernel, r, r_column)]
                    with m.If(py.last):
                        m.d.sync += [*py.clear, *to(r_kernel + kernel_w * channels, r, r_column, r_kernel)]
            with m.If(window_end):
                m.d.sync += [*ky.clear, *plane.up, *to(a_group, a, a_row), *to(r_group, r, r_column, r_kernel)]
                with m.If(plane.last):
                    m.d.sync += [*plane.clear, *group.up, *member.up,
                                 *to(r_group + self.group_rows, r, r_column, r_kernel, r_group)]
                    if p.groups > 1:
                        with m.If(member.last):
                            m.d.sync += [*member.clear, *part.up, r_part.eq(r_part + channels)]
                            with m.If(part.last):
                                m.d.sync += [*part.clear, r_part.eq(0), *to(a_group + group_words, a, a_row, a_group)]
                    with m.If(group.last):
                        m.d.sync += [*group.clear, *member.clear, *part.clear, r_part.eq(0), *ox.up,
                                     *to(a_window + stride * words, a, a_row, a_group, a_window),
                                     *to(0, r, r_column, r_kernel, r_group)]
                        with m.If(ox.last):
                            m.d.sync += [*ox.clear, *oy.up,
                                         *to(a_line + stride * width * words, a, a_row, a_group, a_window, a_line)]
                            with m.If(oy.last):
                                m.d.sync += [*oy.clear, *repeat.up]
                                start = Signal(bits)
                                m.d.comb += start.eq(Mux(bank ^ repeat.last, self.frame_words, 0) + first)
                                m.d.sync += to(start, a, a_row, a_group, a_window, a_line)
                                with m.If(repeat.last):
                                    m.d.sync += [*repeat.clear, full.bit_select(bank, 1).eq(0), bank.eq(~bank)]
        return {"address": a, "row": r - r_part if p.groups > 1 else r, "inside": inside, "part": part.at,
                "plane": self.bits - 1 - plane.at, "short": word.last, "plane_end": window_end, "end": window_end & plane.last}

    def _bounds(self, m, issue, pad, stride, word, kx, ky, plane, group, ox, oy):
        """Whether the word is inside the map; 1 where nothing is padded."""
        if pad == 0:
            return 1
        height, width, _ = self.source_shape
        kernel_h, kernel_w = (k * self.projection.pool for k in self.projection.kernel)
        out_h, out_w = self.projection.output_map(self.source_shape)

        def axis(name, out, kernel):
            shape = Shape(ceil_log2(max(pad, (out - 1) * stride + kernel) + 1) + 1, signed=True)
            return Signal(shape, name=name, init=-pad), Signal(shape, name=f"{name}_window", init=-pad)

        x, x_window = axis("x", out_w, kernel_w)
        y, y_window = axis("y", out_h, kernel_h)
        with m.If(issue & word.last):
            m.d.sync += x.eq(x + 1)
            with m.If(kx.last):
                m.d.sync += [x.eq(x_window), y.eq(y + 1)]
                with m.If(ky.last):
                    m.d.sync += y.eq(y_window)
                    with m.If(plane.last & group.last):
                        m.d.sync += [x.eq(x_window + stride), x_window.eq(x_window + stride)]
                        with m.If(ox.last):
                            m.d.sync += [x.eq(-pad), x_window.eq(-pad),
                                         y.eq(y_window + stride), y_window.eq(y_window + stride)]
                            with m.If(oy.last):
                                m.d.sync += [y.eq(-pad), y_window.eq(-pad)]
        return (x >= 0) & (x < width) & (y >= 0) & (y < height)

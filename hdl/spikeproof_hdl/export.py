"""From a plan to files: Verilog, memory images and a manifest of both."""
import re
import tempfile
from pathlib import Path

from amaranth.back import rtlil

from spikeproof.files import sha256_file, write_json, write_text

from .core import Core, loadable_memories, ports
from .tools import run, yosys

__all__ = ["ASSIGNMENTS", "BUFFERS", "KINDS", "clean_verilog", "declared_memories", "export_core"]

#: Kinds of memories that hold the model, and memories that hold data under way: spike frames, queued words, pooled
#: lines, the readout's counts.
KINDS = ("weights", "membranes", "thresholds", "biases", "initials")
BUFFERS = ("frames", "storage", "line", "counts")

# Combinational logic as assignments with ?: only. As always blocks that assign a default first, it glitches in simulators that
# follow events, and blocks that read one another's vectors wake each other for ever (seen in Icarus Verilog 11). -norename
# keeps our names; -extmem writes images.
ASSIGNMENTS = "proc -norom -noopt; pmuxtree; memory_collect; write_verilog -norename -sv"
#: Attributes that synthesis is to see; the others are the writer's own.
ATTRIBUTE = re.compile(r"^\s*\(\* (?!ram_style).*\*\)$\n", re.MULTILINE)

MODULE = re.compile(r"^module\s+\\?(\S+)")
DECLARED = re.compile(r"^\s*reg \[(\d+):0\] (\w+) \[(\d+):0\];")
DECLARED_BIT = re.compile(r"^\s*reg (\w+) \[(\d+):0\];")
IMAGE = re.compile(r'\$readmemb\("(core-\d+\.mem)", (\w+)\)')


def clean_verilog(text):
    """yosys's Verilog without the attributes that are only its own."""
    return ATTRIBUTE.sub("", text)


def declared_memories(verilog):
    """Every memory that the Verilog declares: {"module.memory": {"width": bits, "depth": words}}."""
    module, found = None, {}
    for line in verilog.splitlines():
        if match := MODULE.match(line):
            module = match[1]
        elif match := DECLARED.match(line):
            found[f"{module}.{match[2]}"] = {"width": int(match[1]) + 1, "depth": int(match[3]) + 1}
        elif match := DECLARED_BIT.match(line):
            found[f"{module}.{match[1]}"] = {"width": 1, "depth": int(match[2]) + 1}
    return found


def _name_images(verilog, folder):
    """Rename yosys's numbered images after their memories -> (Verilog, {memory: image})."""
    module, lines, images = None, [], {}
    for line in verilog.splitlines():
        if match := MODULE.match(line):
            module = match[1]
        if match := IMAGE.search(line):
            path = f"{module}.{match[2]}"
            image = path.removeprefix("core.") + ".mem"
            images[path] = image
            (folder / match[1]).rename(folder / image)
            line = line.replace(match[1], image)
        lines.append(line)
    return "\n".join(lines) + "\n", images


def export_core(plan, out, core=None, network=None):
    """Write ``core.v``, one ``*.mem`` image per memory and ``manifest.json`` into the folder ``out``.

    Parameters
    ----------
    core : Core to export (tests plant faults in one), or None to build it from the plan
    network : str, digest of the network file, for the manifest, or None

    Returns
    -------
    dict, the manifest: the plan, every memory of the Verilog (kind, layer, width, depth, image), digests of files
    """
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    core = core or Core(plan)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".export.") as work:
        work = Path(work)
        (work / "core.il").write_text(rtlil.convert(core, name="core", ports=ports(core), emit_src=False))
        run([yosys(), "-q", "-p", f"read_rtlil core.il; {ASSIGNMENTS} -extmem core.v"], work)
        verilog, images = _name_images(clean_verilog((work / "core.v").read_text()), work)
        contents = core.contents()
        memories = {}
        for path, shape in declared_memories(verilog).items():
            whole, _, bank = path.partition("_bank")
            if whole not in contents and whole.rsplit(".", 1)[1].rstrip("0123456789") not in BUFFERS:
                raise RuntimeError(f"the Verilog declares a memory of unknown kind: {path}")
            kind = contents[whole][0] if whole in contents else "buffers"
            memories[path] = {**shape, "kind": kind, "of": whole, "bank": int(bank or 0), "image": images.get(path)}
        write_text(work / "core.v", verilog)
        made = sorted({"core.v", *images.values()})
        manifest = {"top": "core", "steps": plan.net.steps, "readout": plan.net.readout,
                    "input": plan.net.input.to_dict(),
                    "plan": plan.to_dict(), "network_sha256": network,
                    "engines": {engine.name: [plan.net.layers[k].name for k in engine.layers] for engine in plan.engine_plans},
                    "memories": memories, "loadable": list(loadable_memories(plan)) if plan.loadable else [],
                    "contents": {path: {"kind": kind, "layers": layers} for path, (kind, layers) in contents.items()},
                    "files": {name: sha256_file(work / name) for name in made}}
        write_json(work / "manifest.json", manifest)
        # All is there: it takes the place of what was.
        out.mkdir(exist_ok=True)
        for old in out.glob("*.mem"):
            old.unlink()
        for name in [*made, "manifest.json"]:
            (work / name).replace(out / name)
    return manifest

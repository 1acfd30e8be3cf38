"""Generate the neuron core of a network: Verilog and memory images.

Lanes and updaters are the most that a layer gets; each takes the largest divisor of its channels.
"""


def add_arguments(parser, json_argument):
    add_plan_arguments(parser)
    parser.add_argument("--network", required=True, help="network.safetensors")
    parser.add_argument("--out", required=True, help="folder for core.v, *.mem and manifest.json")


def add_plan_arguments(parser):
    parser.add_argument("--lanes", type=int, default=16, help="neurons that accumulate at once, per layer (default 16)")
    parser.add_argument("--updaters", type=int, default=1, help="neurons updated in a cycle, per layer (default 1)")


def load_plan(args):
    """The network file and its plan -> (CorePlan, digest)."""
    from spikeproof_hdl.plan import CorePlan

    from ..netfile import load_network
    net, digest = load_network(args.network)
    return CorePlan.of(net, args.lanes, args.updaters), digest


def run(args, stage):
    from spikeproof_hdl.export import export_core
    plan, _ = load_plan(args)
    manifest = export_core(plan, args.out)
    stage.say(f"{len(manifest['memories'])} memories, lanes {', '.join(str(part.lanes) for part in plan.layers)}")

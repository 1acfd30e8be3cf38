"""Run a study that needs no data and trains no network: quantities and curves, as JSON."""


def add_arguments(parser, json_argument):
    parser.add_argument("--config", type=json_argument, required=True, help="analysis entry, JSON or a file of it")
    parser.add_argument("--out", required=True, help="result, .json")


def run(args, stage):
    from ..files import write_json
    from ..model_files import make
    from ..provenance import provenance
    from ..torch_setup import set_up
    set_up(args.threads)
    result = make("analyses", args.config).run(say=stage.say)
    write_json(args.out, {"config": args.config, **result, "provenance": provenance()})

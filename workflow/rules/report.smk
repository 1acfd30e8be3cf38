# One page and one table per study, and the comparison with an earlier run.


rule report_study:
    input:
        results=[path for run in RUNS for path in run.results.values()],
        histories=[path for run in RUNS for path in run.histories.values()],
    output:
        html=report(
            f"results/{STUDY}/report.html",
            category="Studies",
            caption="../report/study.rst",
            labels={"study": STUDY, "what": "report"},
        ),
        table=report(
            f"results/{STUDY}/summary.csv",
            category="Studies",
            caption="../report/summary.rst",
            labels={"study": STUDY, "what": "table"},
        ),
    log:
        f"results/logs/report/{STUDY}.log",
    conda:
        "../../environment.yml"
    params:
        study=json.dumps(
            {
                **STUDY_OPTIONS.model_dump(include={"title", "about", "scaled_down"}),
                "name": STUDY,
                "runs": [
                    [getattr(run, field) for field in run.__dataclass_fields__]
                    for run in RUNS
                ],
            }
        ),
        label=STUDY,
        code=code_digest("spikeproof.stages.report"),
    shell:
        "python -m spikeproof report --label {params.label} --log {log} --study {params.study:q} "
        "--out {output.html} --table {output.table}"


# `snakemake --cores all verify` compares this run with the committed one, within stated tolerances.
rule verify:
    input:
        table=rules.report_study.output.table,
        reference=ROOT / "results" / "reference" / STUDY / "summary.csv",
    log:
        f"results/logs/verify/{STUDY}.log",
    conda:
        "../../environment.yml"
    params:
        label=STUDY,
    shell:
        "python -m spikeproof verify --label {params.label} --log {log} --table {input.table} --reference {input.reference}"

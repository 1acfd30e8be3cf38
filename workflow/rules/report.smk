# Analyses, one page and tables per study, and the comparison with an earlier run.


# One job of an exploration that several share: the rows of some candidates of one network.
rule explore:
    input:
        data=lambda wildcards: CONFIG.analysis_inputs(wildcards.analysis)[0],
        model=lambda wildcards: CONFIG.analysis_inputs(wildcards.analysis)[
            1 + seeds_of(wildcards.analysis).index(int(wildcards.seed))
        ],
    output:
        "results/parts/{analysis}/{seed}-{part}.json",
    log:
        "results/logs/explore/{analysis}.{seed}-{part}.log",
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(4000),
        runtime=growing(240),
    params:
        config=lambda wildcards: json.dumps(
            CONFIG.entries["analyses"][wildcards.analysis].space.of_rows
        ),
        part=lambda wildcards: f"{wildcards.part}/{CONFIG.entries['analyses'][wildcards.analysis].jobs}",
        code=code_of("explore", "analyses"),
        label=label,
    shell:
        "python -m spikeproof explore --label {params.label} --log {log} --config {params.config:q} --data {input.data} "
        "--model {input.model} --part {params.part} --out {output}"


rule analyze:
    input:
        given=lambda wildcards: CONFIG.analysis_inputs(wildcards.analysis),
        rows=lambda wildcards: CONFIG.analysis_parts(wildcards.analysis),
    output:
        analysis_file("{analysis}"),
    log:
        "results/logs/analyze/{analysis}.log",
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(4000),
        runtime=growing(240),
    params:
        config=entry("analyses", "analysis"),
        code=code_of("analyze", "analyses"),
        label=label,
        given=lambda wildcards, input: (
            f"--data {input.given[0]} --models {' '.join(input.given[1:])}"
            if input.given
            else ""
        ),
        rows=lambda wildcards, input: (
            f"--rows {' '.join(input.rows)}" if input.rows else ""
        ),
    shell:
        "python -m spikeproof analyze --label {params.label} --log {log} --config {params.config:q} {params.given} "
        "{params.rows} --out {output}"


rule report_study:
    input:
        files=sorted({path for run in RUNS for path in run.files}),
        analyses=[analysis_file(name) for name in STUDY_OPTIONS.analyses],
        claims=ROOT / "config" / "claims.yaml",
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
        claims=f"results/{STUDY}/claims.csv",
        figures=directory(f"results/{STUDY}/figures"),
        manifest=f"results/{STUDY}/manifest.json",
    log:
        f"results/logs/report/{STUDY}.log",
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(2000),
        runtime=growing(60),
    params:
        study=json.dumps(
            {
                **STUDY_OPTIONS.model_dump(include={"title", "about"}),
                "scaled_down": STUDY_OPTIONS.scaled_down or SMOKE,
                "smoke": SMOKE,
                "name": STUDY,
                "analyses": {
                    name: CONFIG.entry("analyses", name)
                    for name in STUDY_OPTIONS.analyses
                },
                "runs": [
                    [getattr(run, field) for field in run.__dataclass_fields__]
                    for run in RUNS
                ],
            }
        ),
        label=STUDY,
        code=code_digest(
            "spikeproof.stages.report",
            *[
                module
                for name in STUDY_OPTIONS.analyses
                for module in CONFIG.modules("analyses", name)
            ],
        ),
    shell:
        "python -m spikeproof report --label {params.label} --log {log} --study {params.study:q} "
        "--claims {input.claims} --out {output.html} --table {output.table} --claims-table {output.claims} "
        "--figures {output.figures} --manifest {output.manifest}"


# A study that tests no claims has no verdicts to compare.
REFERENCE_CLAIMS = [
    path
    for path in [ROOT / "results" / "reference" / STUDY / "claims.csv"]
    if path.exists()
]


# `snakemake --cores all verify` compares this run with the committed one, within stated tolerances.
rule verify:
    input:
        table=rules.report_study.output.table,
        claims=rules.report_study.output.claims,
        manifest=rules.report_study.output.manifest,
        reference=reference_table,
        reference_claims=REFERENCE_CLAIMS,
    log:
        f"results/logs/verify/{STUDY}.log",
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        label=STUDY,
        claims=lambda wildcards, input: (
            f"--claims {input.claims} --reference-claims {input.reference_claims}"
            if REFERENCE_CLAIMS
            else ""
        ),
    shell:
        "python -m spikeproof verify --label {params.label} --log {log} --manifest {input.manifest} --table {input.table} "
        "--reference {input.reference} {params.claims}"


# What the overview looks at: studies that were run here, and the committed references.
OVERVIEWED = sorted(
    str(path)
    for pattern in (
        "results/*/claims.csv",
        "results/*/summary.csv",
        f"{ROOT}/results/reference/*/*.csv",
    )
    for path in glob(pattern)
    if not path.startswith("results/overview/")
)


# `snakemake --cores all overview`: the claims of all studies, and our cores beside published ones.
rule overview:
    input:
        tables=OVERVIEWED,
        claims=ROOT / "config" / "claims.yaml",
        cores=ROOT / "config" / "cores.yaml",
    output:
        html=report(
            "results/overview/report.html",
            category="Studies",
            caption="../report/overview.rst",
            labels={"study": "all", "what": "claims and cores"},
        ),
        claims="results/overview/claims.csv",
        cores="results/overview/cores.csv",
        figures=directory("results/overview/figures"),
    log:
        "results/logs/overview.log",
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        references=ROOT / "results" / "reference",
        label="overview",
        code=code_digest("spikeproof.stages.overview"),
    shell:
        "python -m spikeproof overview --label {params.label} --log {log} --claims {input.claims} --cores {input.cores} "
        "--results results --references {params.references:q} --out {output.html} --table {output.claims} "
        "--cores-table {output.cores} --figures {output.figures}"

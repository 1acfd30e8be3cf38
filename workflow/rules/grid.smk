# Points of a grid, in batches: `snakemake --config grid=name` for a name in config/grids, or the path of a file of one's own.


rule grid_part:
    input:
        grid_inputs,
    output:
        part_file(GRID_NAME, "{level}", "{part}"),
    log:
        f"results/logs/grid_part/{GRID_NAME}/{{level}}-{{part}}.log",
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=growing(480),
        gpu=GPU,
    params:
        tasks=lambda wildcards: tasks(grid_batch(wildcards), wildcards.level),
        leave_out=(
            "--leave-out" if GRID and GRID.options.failures == "leave_out" else ""
        ),
        label=lambda wildcards: f"{GRID_NAME}/{wildcards.level}-{wildcards.part}",
    shell:
        "python -m spikeproof grid-part --label {params.label} --log {log} --threads {threads} --level {wildcards.level} "
        "--tasks {params.tasks:q} {params.leave_out} --out {output}"


rule grid:
    input:
        [
            part_file(GRID_NAME, "point", n)
            for n in range(len(GRID.batches("point")) if GRID else 0)
        ],
    output:
        html=report(
            f"results/grids/{GRID_NAME}/report.html",
            category="Grids",
            labels={"grid": GRID_NAME, "what": "report"},
        ),
        table=report(
            f"results/grids/{GRID_NAME}/summary.csv",
            category="Grids",
            labels={"grid": GRID_NAME, "what": "table"},
        ),
        figures=directory(f"results/grids/{GRID_NAME}/figures"),
        manifest=f"results/grids/{GRID_NAME}/manifest.json",
    log:
        f"results/logs/grid/{GRID_NAME}.log",
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(2000),
        runtime=growing(60),
    params:
        grid=json.dumps(
            {
                "name": GRID_NAME,
                **(
                    GRID.options.model_dump(include={"title", "about"}) if GRID else {}
                ),
            }
        ),
        label=GRID_NAME,
        code=code_digest("spikeproof.stages.grid"),
    shell:
        "python -m spikeproof grid --label {params.label} --log {log} --grid {params.grid:q} --parts {input} "
        "--out {output.html} --table {output.table} --figures {output.figures} --manifest {output.manifest}"

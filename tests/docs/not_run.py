"""The blocks that are not run, and why: as few as can be."""

FROM_REGISTRY = "installs from a package registry; what it names is there"
TAKES_LONG = "takes minutes to hours; the command takes these arguments"
DOWNLOADS = "downloads the published weights"
HISTORY = "needs the history of the repository; what it makes is there"
PRINTED = "was printed by a run of hours"
FORMULA = "is a formula"
NOT_HERE = "needs a cluster with Slurm, or files of a survey"
IN_PYTHON = "does in the shell what the page does in Python, where it is executed"
SERVES = "serves a page until it is interrupted; the command takes these arguments"

#: What is not run, by reason and page: lines of shell blocks, examples, or a whole text block.
NOT_RUN = {
    FROM_REGISTRY: {
        "CONTRIBUTING.md": [
            'python -m pip install -c constraints.txt -e ".[test,simulate]" && python -m pytest'
        ],
        "README.md": [
            'python -m pip install -c constraints.txt ".[plot]" && astroclip demo',
            'python -m pip install -c constraints.txt -e ".[test,simulate]" && python -m pytest',
            'python -m pip install -c constraints.txt ".[benchmark,simulate]"',
        ],
        "docs/paper-tables.md": [
            'python -m pip install -c constraints.txt ".[benchmark,simulate]"'
        ],
        "docs/start.md": ['python -m pip install -c constraints.txt ".[plot]"'],
        "docs/training.md": ['python -m pip install -c constraints.txt ".[train,simulate]"'],
    },
    TAKES_LONG: {
        "docs/how-it-works.md": [
            "python -m astroclip_astro.simulate mocks --n 60000 --seed 2024",
            "python benchmarks/paper_figures.py mocks work",
        ],
        "README.md": [
            "astroclip train specformer laptop -o specformer",
            "astroclip train image laptop -o image",
            "astroclip train align laptop -o aligned",
            "astroclip benchmark paper --data mocks:mocks "
            "--model aligned/my-astroclip.safetensors -o tables",
        ],
        "docs/model-card.md": [
            "python -m astroclip_astro.simulate mocks --n 60000 --seed 2024",
            "python -m astroclip_astro.training.mini mocks run",
            "python -m astroclip_astro.training.mini mocks run --start start.safetensors",
        ],
        "docs/paper-tables.md": [
            "astroclip benchmark paper --data mocks:mocks --out tables",
            "astroclip benchmark paper --data published:astroclip_desi.1.1.5.h5 "
            "--properties provabgs.ecsv --model astroclip --out published",
            "astroclip benchmark paper --data mocks:mocks "
            "--unaligned run/astroclip-mini-image.safetensors "
            "--unaligned run/astroclip-mini-spectrum.safetensors "
            "--max-minutes 10 -n 20000 --out tables",
        ],
        "docs/tasks.md": [
            "python -m astroclip_astro.simulate mocks --n 60000 --seed 2024",
            "python -m astroclip_astro.simulate others --n 24000 --seed 2025",
            "python -m astroclip_astro.training.mini.heads mocks others heads --n 40000",
            "python benchmarks/head_calibration.py mocks others ../shared/data heads",
        ],
        "docs/tutorials/train.md": [
            "astroclip train specformer laptop -o specformer",
            "astroclip train image laptop -o image",
            "astroclip train align laptop -o aligned",
        ],
        "docs/training.md": [
            "python -m astroclip_astro.simulate mocks --n 10000",
            "astroclip train specformer laptop -o specformer",
            "astroclip train image laptop -o image",
            "astroclip train align laptop -o aligned",
        ],
    },
    DOWNLOADS: {"README.md": ['model = aa.load_model("astroclip")']},
    HISTORY: {
        "docs/model-card.md": [
            "git show fc63f0c:astroclip_astro/weights/data/astroclip-mini.safetensors "
            "> start.safetensors"
        ]
    },
    PRINTED: {
        "docs/paper-tables.md": [
            "kNN: k nearest neighbours, k = 64, weights 1/distance, standardised embeddings"
        ]
    },
    NOT_HERE: {
        "docs/tutorials/cluster.md": [
            "from dask_jobqueue import SLURMCluster  # doctest: +SKIP",
            "cluster = SLURMCluster(\n"
            '    cores=32, processes=32, memory="128GB", walltime="02:00:00", account="mine"\n'
            ")  # doctest: +SKIP",
            "jobs = cluster.adapt(maximum_jobs=20)  # doctest: +SKIP",
            "client = Client(cluster)  # doctest: +SKIP",
        ],
        "docs/tutorials/first-spectrum.md": [
            'aa.embed("spec-0266-51602-0001.fits")  # SDSS, BOSS, eBOSS, SDSS-V  # doctest: +SKIP',
            'aa.embed("coadd-sv3-bright-26000.fits")  '
            "# DESI: all targets of the file  # doctest: +SKIP",
        ],
    },
    IN_PYTHON: {
        "docs/tutorials/catalog.md": [
            "astroclip catalog build bright/recipe.toml -o bright-galaxies --source mocks=mocks",
            "astroclip catalog search bright-galaxies mock-31-0000047 -k 5 --modality image "
            '--where "z < 0.1"',
            "astroclip catalog verify bright-galaxies",
        ],
    },
    SERVES: {
        "README.md": ["astroclip explore mocks"],
        "docs/explorer.md": [
            "astroclip explore mocks",
            "astroclip explore mocks --source mocks=/data/mocks",
        ],
    },
    FORMULA: {
        "docs/how-it-works.md": [
            "loss = mean over hidden entries of (filled in − true)²",
            "colour = x · asinh(Q I) / (√Q · I), clipped to 0 … 1",
            "cos(a, b) = a · b / (|a| |b|)",
        ]
    },
}

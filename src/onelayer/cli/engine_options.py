"""The options that say what does the arithmetic, one way for all commands: `--engine` and kin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from onelayer.cli.option_groups import takes
from onelayer.engines import ENGINE_NAMES, Engine


@dataclass(frozen=True)
class EngineOptions:
    """What was said about the engine; each field is an option, its annotation the help."""

    engine: Annotated[
        str, typer.Option("--engine", help=f"What does the arithmetic: {', '.join(ENGINE_NAMES)}.")
    ] = ENGINE_NAMES[0]
    threads: Annotated[
        int | None,
        typer.Option(
            "--threads",
            help="Threads of the native engine, or of torch on the CPU; default: the cores we may "
            "use.",
        ),
    ] = None
    device: Annotated[
        str | None,
        typer.Option(
            "--device",
            metavar="NAME",
            help="Of the engine torch: auto, cpu, cuda, cuda:N or mps; default: auto, a GPU where "
            "there is one, else the native engine.",
        ),
    ] = None
    precision: Annotated[
        str | None,
        typer.Option(
            "--precision",
            metavar="TYPE",
            help="Of the engine torch: round the factors of float32 products to tf32 or bf16, "
            "which GPUs multiply faster.",
        ),
    ] = None


DEFAULT_ENGINE = EngineOptions()

takes_engine = takes("arithmetic", EngineOptions)


def chosen_engine(said: EngineOptions) -> Engine:
    """Make the engine that the options name."""
    from onelayer.engines import make_engine

    return make_engine(said.engine, said.threads, device=said.device, precision=said.precision)

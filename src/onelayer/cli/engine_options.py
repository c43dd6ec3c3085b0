"""The options that say what does the arithmetic, one way for all commands: `--engine` and kin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from onelayer.cli.application import note
from onelayer.cli.option_groups import takes
from onelayer.engines import ENGINE_NAMES, Engine
from onelayer.launch import processes


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
    """Make the engine that the options name; for processes started together one that they share."""
    from onelayer.engines import make_engine

    together = processes() > 1
    # The default is for one process.
    name = "torch" if together and said.engine == ENGINE_NAMES[0] else said.engine
    engine = make_engine(
        name, said.threads, device=said.device, precision=said.precision, distributed=together
    )
    if together:
        device = engine.describe()["device"]
        note(f"{processes()} processes share the rows of each batch (engine torch, {device}).")
    return engine

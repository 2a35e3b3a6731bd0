"""The command line: one parser, one function a command, imports only of what a command runs.

Exit codes: 0 done, 1 refused or failed, 2 the command line or the configuration is wrong, 130 interrupted.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from mnemolog.domain.errors import MnemologError
from mnemolog.runtime import (
    cli_audit,
    cli_backup,
    cli_config,
    cli_forgetting,
    cli_keys,
    cli_publishing,
    interpreter,
    logs,
)
from mnemolog.runtime.cli_parts import Commands, as_json, common, count, runtime, sub, subgroup
from mnemolog.runtime.config import BadConfiguration, Settings
from mnemolog.runtime.config_reading import load

_EPILOG = """\
A first session:
  mnemolog serve --data ./memory                     start the server, leave it running
  mnemolog clients create --tenant acme --data ./memory     let a SAP agent_memory client in
  mnemolog tokens create --tenant acme --user ann --data ./memory   let a DataRobot client in
  mnemolog log show --data ./memory                  see what was written, fact by fact

Settings come from options, MNEMOLOG_* variables and a TOML file (--config); `mnemolog config show` lists them.
"""
_INTERRUPTED = 130
_SETTINGS = (
    *("data", "host", "port", "no_auth", "runtime", "kafka", "partitions", "models"),
    *("audit_key", "audit_heads", "audit_also"),
)
"""Options that are settings."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    options = parser().parse_args(arguments)
    interpreter.set_up()
    os.umask(0o077)  # what is written here is for its owner's eyes only
    try:
        settings = _settings(options)
        logs.configure(settings.log_level, settings.log_format)
        return int(options.run(settings, options))
    except BadConfiguration as error:
        sys.stderr.write("".join(f"mnemolog: {line}\n" for line in str(error).splitlines()))
        return 2
    except MnemologError as error:
        sys.stderr.write(f"mnemolog: {error}\n")
        return 1
    except BrokenPipeError:
        sys.stderr.close()  # the reader of a pipe has gone: nobody is left to tell
        return 0
    except KeyboardInterrupt:
        return _INTERRUPTED


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    top = argparse.ArgumentParser(
        prog="mnemolog",
        description="An event-sourced memory service for AI agents.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"mnemolog {version('mnemolog')}")
    commands = top.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _serve(commands)
    _demo(commands)
    _clients(commands)
    _tokens(commands)
    cli_keys.register(commands)
    _log(commands)
    _topics(commands)
    _projections(commands)
    _vectors(commands)
    _models(commands)
    cli_publishing.register(commands)
    cli_config.register(commands)
    _worker(commands)
    cli_forgetting.register(commands)
    cli_audit.register(commands)
    cli_backup.register(commands)
    return top


def _serve(commands: Commands) -> None:
    command = sub(
        commands, "serve", "run the server: everything in one process, or a gateway of the distributed runtime"
    )
    common(command)
    command.add_argument("--host", help="the address to listen on (default 127.0.0.1)")
    command.add_argument("--port", help="the port to listen on (default 8080; 0 takes a free one)")
    command.add_argument("--no-auth", action="store_const", const=True, help="let everyone in; local development only")
    runtime(command, "what it runs on")
    command.set_defaults(run=_run_serve)


def _run_serve(settings: Settings, options: argparse.Namespace) -> int:
    del options
    if settings.runtime == "kafka":
        from mnemolog.runtime.gateway_kafka import serve as serve_gateway

        return serve_gateway(settings)
    from mnemolog.runtime.server import serve

    return serve(settings)


def _demo(commands: Commands) -> None:
    command = commands.add_parser(
        "demo",
        help="watch a short, real story through both SDKs",
        description="Start a server on a folder of its own and tell a short story on it with both official SDKs.",
    )
    command.add_argument("--url", help="tell it on this server, which runs already; the settings lead to its log")
    command.set_defaults(run=_run_demo)


def _run_demo(settings: Settings, options: argparse.Namespace) -> int:
    from mnemolog.runtime.demo import Running, demo, story

    return story(Running(options.url.rstrip("/"), settings.data)) if options.url else demo()


def _clients(commands: Commands) -> None:
    group = subgroup(commands, "clients", "OAuth2 clients, for the SAP face")
    create = sub(group, "create", "let a client in; prints its secret once")
    create.add_argument("--tenant", required=True, help="whose data the client works on")
    create.add_argument("--id", help="the client's id (default: a random one)")
    create.add_argument("--identityzone", help="the provider's host label; other labels then name subscriber tenants")
    create.add_argument("--subscribers", help="the only subscriber labels allowed, separated by commas")
    create.add_argument("--role", choices=["auditor"], help="what the client may do besides")
    create.add_argument("--no-admin", action="store_true", help="the client may not change the retention policy")
    create.add_argument("--url", default="http://127.0.0.1:8080", help="the server's address, for the line to paste")
    revoke = sub(group, "revoke", "shut a client out")
    revoke.add_argument("id", help="the client's id")
    revoke.add_argument("--tenant", help="whose client, if several tenants have one with this id")
    listing = sub(group, "list", "the valid clients")
    _credentials(create, revoke, listing, "clients")


def _tokens(commands: Commands) -> None:
    group = subgroup(commands, "tokens", "API tokens, for the DataRobot face")
    create = sub(group, "create", "let the bearer of a token in; prints it once")
    create.add_argument("--tenant", required=True, help="whose data the bearer works on")
    create.add_argument("--user", required=True, help="for whom the bearer speaks; spaces belong to users")
    create.add_argument("--role", choices=["auditor"], help="what the bearer may do besides")
    revoke = sub(group, "revoke", "shut the bearer of a token out")
    revoke.add_argument("id", help="the token's id, as `tokens list` shows it")
    revoke.add_argument("--tenant", help="whose token, if several tenants have one with this id")
    listing = sub(group, "list", "the valid tokens")
    _credentials(create, revoke, listing, "tokens")


def _credentials(
    create: argparse.ArgumentParser, revoke: argparse.ArgumentParser, listing: argparse.ArgumentParser, kind: str
) -> None:
    for command, verb in ((create, "create"), (revoke, "revoke"), (listing, "list")):
        common(command)
        as_json(command)
        command.set_defaults(run=_run_credentials, kind=kind, verb=verb)


def _run_credentials(settings: Settings, options: argparse.Namespace) -> int:
    from mnemolog.runtime import credentials

    return asyncio.run(credentials.run(settings, options))


def _log(commands: Commands) -> None:
    group = subgroup(commands, "log", "the log of facts")
    show = sub(group, "show", "print the newest facts, or those of one stream")
    show.add_argument("stream", nargs="?", metavar="STREAM", help="a stream's name, or the id at its end")
    show.add_argument("--last", type=count, default=20, metavar="N", help="how many of the newest facts (default 20)")
    show.add_argument("--follow", action="store_true", help="go on printing as facts come")
    common(show)
    as_json(show)
    show.set_defaults(run=_run_log)


def _run_log(settings: Settings, options: argparse.Namespace) -> int:
    from mnemolog.runtime.log import show

    return asyncio.run(show(settings, options.stream, last=options.last, follow=options.follow, as_json=options.json))


def _topics(commands: Commands) -> None:
    group = subgroup(commands, "topics", "the topics in Kafka")
    create = sub(group, "create", "make the topics that are missing; never changes one that is there")
    check = sub(group, "check", "compare the cluster with the declaration; exit code 1 if anything differs")
    show = sub(group, "show", "print what the cluster has, with the settings that are in force")
    for command, verb in ((create, "create"), (check, "check"), (show, "show")):
        command.add_argument("--kafka", metavar="SERVERS", help="bootstrap servers, host:port, separated by commas")
        command.add_argument("--partitions", metavar="N", help="partitions of every topic, a power of two")
        command.add_argument("--config", metavar="FILE", type=Path, help="a TOML file of settings")
        command.set_defaults(run=_run_topics, verb=verb, replication=0, min_insync=0, json=False)
    move = sub(group, "repartition", "move the log into new topics with another number of partitions; all else stopped")
    move.add_argument(
        "--to-partitions", required=True, metavar="N", help="partitions of the new topics, a power of two"
    )
    move.add_argument("--to-prefix", required=True, metavar="P", help="what stands before the names of the new topics")
    move.add_argument("--config", metavar="FILE", type=Path, help="a TOML file of settings")
    move.set_defaults(run=_run_repartition)
    for command in (create, check, move):
        command.add_argument("--replication", type=int, default=0, metavar="N", help="replicas of each; production: 3")
        command.add_argument(
            "--min-insync", type=int, default=0, metavar="N", help="replicas that a write waits for; production: 2"
        )
    for command in (check, show):
        as_json(command)


def _run_topics(settings: Settings, options: argparse.Namespace) -> int:
    from mnemolog.runtime import topics

    return asyncio.run(topics.run(settings, options, sys.stdout.write))


def _run_repartition(settings: Settings, options: argparse.Namespace) -> int:
    from mnemolog.runtime.repartition import repartition

    return repartition(settings, options)


def _projections(commands: Commands) -> None:
    group = subgroup(commands, "projections", "the state views")
    status = sub(group, "status", "print how far the views of each partition have come")
    rebuild = sub(group, "rebuild", "fill them again from the log, on Redis beside the live ones and without a pause")
    rebuild.add_argument("--accept", action="store_true", help="take over even where the new views differ")
    rebuild.add_argument(
        "--jobs", type=int, metavar="N", help="processes, for as many partitions at once (default: the cores)"
    )
    for command, verb in ((status, "status"), (rebuild, "rebuild")):
        common(command)
        runtime(command, "where they are")
        command.set_defaults(run=_run_projections, verb=verb)
    as_json(status)


def _run_projections(settings: Settings, options: argparse.Namespace) -> int:
    from mnemolog.runtime import projections

    return asyncio.run(projections.run(settings, options))


def _vectors(commands: Commands) -> None:
    group = subgroup(commands, "vectors", "the search index")
    migrate = sub(group, "migrate", "fill an index of another model beside the one that counts, and let it count")
    migrate.add_argument("--model", required=True, help="the embedding model, as MNEMOLOG_MODEL would name it")
    migrate.add_argument("--accept", action="store_true", help="take over even where the new index finds less")
    migrate.add_argument("--drop", action="store_true", help="drop the index that counted before, and nothing else")
    common(migrate)
    runtime(migrate, "where the index is")
    migrate.set_defaults(run=_run_vectors)
    recall = sub(group, "recall", "measure what a Qdrant server's own index finds in the largest scopes")
    recall.add_argument("--samples", type=count, default=50, metavar="N", help="queries of each kind (default 50)")
    common(recall)
    as_json(recall)
    recall.set_defaults(run=_run_recall)


def _run_vectors(settings: Settings, options: argparse.Namespace) -> int:
    from mnemolog.runtime import migrate

    return asyncio.run(migrate.run(settings, options))


def _run_recall(settings: Settings, options: argparse.Namespace) -> int:
    from mnemolog.runtime import recall

    return asyncio.run(recall.run(settings, options))


def _models(commands: Commands) -> None:
    group = subgroup(commands, "models", "the embedding models")
    export = sub(group, "export", "make the fast form of a model, which a server else makes beside its first work")
    export.add_argument("--model", help="the embedding model, as MNEMOLOG_MODEL would name it (default: the one set)")
    export.add_argument("--models", metavar="DIR", help="the folder of exported models (default: that of the settings)")
    export.add_argument("--attached", action="store_true", help=argparse.SUPPRESS)  # a server started it
    common(export)
    export.set_defaults(run=_run_models)


def _run_models(settings: Settings, options: argparse.Namespace) -> int:
    from mnemolog.runtime import exporting

    return exporting.run(settings, options)


def _worker(commands: Commands) -> None:
    command = sub(commands, "worker", "run a role of the distributed runtime until it is told to stop")
    roles = ["sequencer", "projector", "vectors", "retention", "audit", "all"]
    command.add_argument("role", choices=roles, help="what this process does")
    common(command)
    command.set_defaults(run=_run_worker)


def _run_worker(settings: Settings, options: argparse.Namespace) -> int:
    if options.role == "audit":
        from mnemolog.runtime.audit_sign import work

        work(settings)
        return 0
    from mnemolog.runtime.worker import run

    run(settings, options.role)
    return 0


def _settings(options: argparse.Namespace) -> Settings:
    given = {name: getattr(options, name, None) for name in _SETTINGS}
    return load(given, getattr(options, "config", None))


if __name__ == "__main__":
    sys.exit(main())

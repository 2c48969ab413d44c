"""``orchestrator doctor``."""

from __future__ import annotations

import sys

from orchestrator.cli.options import Home, Json

EXAMPLES = """
orchestrator doctor
orchestrator doctor --json
"""
STYLES = {"ok": "green", "warn": "yellow", "fail": "red"}


def command(json: Json = False, home: Home = None) -> int:
    """Say what works on this machine, what does not, and the command that changes it.

    The exit code is 0 unless jobs cannot run as processes of this machine at all.
    """
    from orchestrator.cli import exits
    from orchestrator.cli.diagnosis import Level, diagnose
    from orchestrator.cli.output import print_json, safe, styled
    from orchestrator.cli.probing import probe

    checks = diagnose(probe(home))
    good = all(check.level is not Level.FAIL for check in checks)
    if json:
        print_json({"ok": good, "checks": [check.as_json() for check in checks]})
    else:
        width = max(len(check.name) for check in checks)
        for check in checks:
            mark = styled(f"{check.level.value:4}", STYLES[check.level.value])
            print(f"{mark}  {check.name:{width}}  {safe(check.detail)}")
            for line in check.remedy:
                print(f"{'':4}  {'':{width}}  {styled('> ' + line, 'bold')}")
        sys.stdout.flush()
    return exits.DONE if good else exits.ERROR

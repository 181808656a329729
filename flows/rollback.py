"""Put the previous champion back into service at once."""

from __future__ import annotations

from flows import _approval
from flows._context import open_context, stage
from flows.deploy import deploy
from mlcore import registry
from mlcore.failpoints import failpoint


@stage("rollback")
async def rollback(usecase: str, reason: str, actor: str = "") -> int:
    """Make the previous champion the champion again and serve it; the same reason once more only carries this on.

    Args:
        usecase: Name of the use case.
        reason: Why, for the audit trail.
        actor: Who asks; the flow run if left out.
    """
    context = open_context(usecase)
    with context.ledger.transaction() as tx:
        champion = registry.rollback(tx, context.name, actor=actor or context.actor, reason=reason, now=context.now())
        _approval.close_all_over(tx, context.name, context.now())
    context.announce()
    failpoint("rollback.before-deploy")
    # not left to the event alone: the Bento is there already, so this is back in seconds
    await deploy(usecase=usecase, model_version=champion.version)
    await context.tell(f"Version {champion.version} is the champion again: {reason}")
    return champion.version

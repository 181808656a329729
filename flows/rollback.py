"""Put the previous champion back into service at once."""

from __future__ import annotations

from flows._context import open_context, stage
from flows.deploy import deploy
from mlcore import registry


@stage("rollback")
async def rollback(usecase: str, reason: str, actor: str = "") -> int:
    """Make the previous champion the champion again and serve it.

    Args:
        usecase: Name of the use case.
        reason: Why, for the audit trail.
        actor: Who asks; the flow run if left out.
    """
    context = open_context(usecase)
    with context.ledger.transaction() as tx:
        champion = registry.rollback(tx, context.name, actor=actor or context.actor, reason=reason, now=context.now())
    context.announce()
    # not left to the event alone: the Bento is there already, so this is back in seconds
    await deploy(usecase=usecase, model_version=champion.version)
    await context.tell(f"Version {champion.version} is the champion again: {reason}")
    return champion.version

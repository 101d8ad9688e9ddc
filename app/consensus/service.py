"""`Consensus`: what the routes, the scheduler and the command line call."""

import asyncio
from datetime import datetime

from sqlite_utils import Database

from app.access.principal import Actor, Principal
from app.consensus import feedback, review
from app.consensus.errors import Refused, UnusableText
from app.consensus.feedback import ContestedRule, FeedbackResult
from app.consensus.gating import run_gate
from app.consensus.machine import Status
from app.consensus.parsing import ParsedRule, RuleParser
from app.consensus.policy import ConsensusPolicy
from app.consensus.promotion import CycleReport, OnChange, promote_confirmed_proposals
from app.consensus.recount import adopt_policy
from app.consensus.review import ReviewDecision, choosable, choose
from app.consensus.store import load_state, variant_text
from app.consensus.submission import Receipt, Submission, record
from app.consensus.views import (
    ProposalDetail,
    ProposalExplanation,
    ProposalSummary,
    explain,
    list_proposals,
    show_proposal,
)
from app.consensus.votes import Voter
from app.http.paging import Page
from app.http.timestamps import to_text
from app.sandbox import Sandbox
from app.storage import Storage


class Consensus:
    """Proposals from first sight to a rule in service.

    `inspect_sandbox` reads submitted texts (short), `gate_sandbox` runs untrusted regexes (killed past its deadline).
    `on_change` is called after the rules in service have changed, so that a publication can follow. Every method
    takes the instant; refusals are `ConsensusError`s.
    """

    def __init__(
        self,
        storage: Storage,
        inspect_sandbox: Sandbox,
        gate_sandbox: Sandbox,
        policy: ConsensusPolicy,
        on_change: OnChange,
    ) -> None:
        self.policy = policy
        self._storage = storage
        self._reader = RuleParser(inspect_sandbox)
        self._gate_sandbox = gate_sandbox
        self._on_change = on_change
        self._cycle = asyncio.Lock()

    async def submit(
        self,
        principal: Principal,
        *,
        pattern_hash: str,
        text: str,
        llm_provider: str,
        llm_model: str,
        self_review_verdict: str,
        client_id: str | None,
        now: datetime,
    ) -> tuple[Receipt, ParsedRule]:
        """Record a confirmation by the identity behind `principal`; durable when this returns.

        Raises `UnusableText` for what is not a YAML mapping; nothing is kept then.
        """
        parsed = await self._reader.read(text)
        voter = Voter(
            subject=principal.subject,
            enrolled=principal.enrolled,
            registered_from=principal.registered_from,
            voted_from=principal.address,
            site=principal.site,
            live=True,
        )
        sent = Submission(
            pattern_hash=pattern_hash,
            text=text,
            parsed=parsed,
            voter=voter,
            key_id=principal.key_id,
            address=principal.address,
            client_id=client_id,
            llm_provider=llm_provider,
            llm_model=llm_model,
            self_review_verdict=self_review_verdict,
        )
        at = to_text(now)
        return await self._storage.write(lambda db: record(db, sent, at, self.policy)), parsed

    async def give_feedback(
        self, principal: Principal, rule: str, is_true_positive: bool, now: datetime
    ) -> FeedbackResult:
        """Record a vote on a served rule; publishes at once when it quarantines. Raises `UnknownRule`."""
        reception = await self._storage.write(
            lambda db: feedback.give(db, rule, principal, is_true_positive, now, self.policy)
        )
        if reception.now:
            await self._on_change(f"{rule} quarantined")
        return reception

    async def approve(
        self, pattern_hash: str, variant: str | None, actor: Actor, reason: str | None
    ) -> ReviewDecision:
        """Choose a text, gating it first. Raises `Refused` (with the gate's reasons) and `UnknownProposal`."""

        def chosen(db: Database) -> tuple[str, str]:
            digest = choose(load_state(db, pattern_hash, self.policy), variant)
            return digest, variant_text(db, pattern_hash, digest)

        digest, text = await self._storage.read(chosen)
        gated = await run_gate(self._gate_sandbox, text, self.policy.quality)
        if gated.reasons:
            raise Refused("The gate refuses this text.", reasons=gated.reasons)
        return await self._storage.write(
            lambda db: review.approve(db, pattern_hash, digest, text, actor, reason, self.policy)
        )

    async def supply_text(
        self, pattern_hash: str, text: str, actor: Actor, reason: str | None
    ) -> ReviewDecision:
        """Give a proposal a reviewer's text, which is gated and thereby chosen.

        Raises `UnusableText` when it is no rule or does not pass, `Refused` and `UnknownProposal`.
        """
        await self._storage.read(lambda db: choosable(load_state(db, pattern_hash, self.policy)))
        parsed = await self._reader.read(text)
        if parsed.problems:
            raise UnusableText("This text is not a rule yet.", parsed.problems)
        gated = await run_gate(self._gate_sandbox, text, self.policy.quality)
        if gated.reasons:
            raise UnusableText("The gate refuses this text.", gated.reasons)
        return await self._storage.write(
            lambda db: review.supply_text(db, pattern_hash, parsed.variant, text, actor, reason, self.policy)
        )

    async def reject(self, pattern_hash: str, actor: Actor, reason: str) -> ReviewDecision:
        """Turn an undecided proposal down. Raises `Refused` and `UnknownProposal`."""
        return await self._storage.write(
            lambda db: review.reject(db, pattern_hash, actor, reason, self.policy)
        )

    async def withdraw(self, pattern_hash: str, actor: Actor, reason: str) -> ReviewDecision:
        """Take a rule out of service and publish that. Raises `Refused` and `UnknownProposal`."""
        decision = await self._storage.write(
            lambda db: review.withdraw(db, pattern_hash, actor, reason, self.policy)
        )
        await self._on_change(f"{pattern_hash} withdrawn")
        return decision

    async def reopen(self, pattern_hash: str, actor: Actor, reason: str) -> ReviewDecision:
        """Revoke the decision against a proposal (an admin's act). Raises `Refused` and `UnknownProposal`."""
        return await self._storage.write(
            lambda db: review.reopen(db, pattern_hash, actor, reason, self.policy)
        )

    async def run_cycle(self, now: datetime) -> CycleReport:
        """Promote what is confirmed; one cycle at a time, a second caller waits for the first."""
        async with self._cycle:
            return await promote_confirmed_proposals(
                self._storage, self._gate_sandbox, self.policy, now, self._on_change
            )

    async def adopt_policy(self, now: datetime) -> int:
        """At start: count again what is undecided, if the policy changed; returns how many proposals."""
        return await adopt_policy(self._storage, self.policy, now)

    async def list_proposals(
        self, page: Page, *, status: Status | None = None, waiting: bool = False
    ) -> list[ProposalSummary]:
        """Proposals, newest first: up to one more than `page.limit`, which tells that there is a next page."""
        return await self._storage.read(
            lambda db: list_proposals(db, page, self.policy, status=status, waiting=waiting)
        )

    async def show(self, pattern_hash: str) -> ProposalDetail:
        """One proposal with its texts side by side. Raises `UnknownProposal`."""
        return await self._storage.read(lambda db: show_proposal(db, pattern_hash, self.policy))

    async def why(self, pattern_hash: str) -> ProposalExplanation:
        """Each confirmation, counted or not and why, and what is missing. Raises `UnknownProposal`."""
        return await self._storage.read(lambda db: explain(db, pattern_hash, self.policy))

    async def contested_rules(self) -> list[ContestedRule]:
        """Rules with open false-positive votes, the most contested first."""
        return await self._storage.read(lambda db: feedback.contested_rules(db, self.policy))

    async def dismiss_feedback(self, rule: str, actor: Actor, reason: str) -> int:
        """Let the false-positive votes on a rule count no more; returns how many. Raises `UnknownRule`."""
        return await self._storage.write(lambda db: review.dismiss_feedback(db, rule, actor, reason))

"""Campaigns: list, create, read, update, and let the cache forget them."""

from __future__ import annotations

from fastapi import APIRouter

from examples.agent_service.bodies import CampaignBody, CampaignId, NewCampaign
from examples.agent_service.records import Campaign, Cleared
from examples.agent_service.routes.answers import NOT_THERE, TAKEN
from examples.agent_service.routes.request import Tenant

router = APIRouter(prefix="/campaigns", tags=["campaigns"])


@router.get("", summary="All campaigns")
async def every(tenant: Tenant) -> list[Campaign]:
    return await tenant.campaigns.campaigns()


@router.post("", status_code=201, summary="Create a campaign", responses=TAKEN)
async def create(tenant: Tenant, body: NewCampaign) -> Campaign:
    campaign = Campaign(id=body.id, name=body.name, budget=body.budget, version=1)
    await tenant.campaigns.add_campaign(campaign)
    return campaign


@router.post("/clear", summary="Let the cache forget all campaigns")
async def clear(tenant: Tenant) -> Cleared:
    """They are read again, as their rows are; what waits to be written is written."""
    return await tenant.campaigns.clear()


@router.get("/{campaign_id}", summary="A campaign", responses=NOT_THERE)
async def read(tenant: Tenant, campaign_id: CampaignId) -> Campaign:
    return await tenant.campaigns.get_campaign(campaign_id)


@router.put("/{campaign_id}", summary="Replace a campaign", responses=NOT_THERE)
async def update(tenant: Tenant, campaign_id: CampaignId, body: CampaignBody) -> Campaign:
    """It is kept when this returns, and read by all; its row is written by the sync."""
    return await tenant.campaigns.update_campaign(campaign_id, body.name, body.budget)

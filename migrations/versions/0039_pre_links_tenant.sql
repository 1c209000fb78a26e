-- A link carries its tenant's number beside its id, by which clicks are counted: both have to be the writer's own.
alter policy tenant on app.links
    with check (tenant_id = (select app.tenant_id()) and tenant_no = (select app.tenant_no()));

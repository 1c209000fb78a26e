-- Days whose downloads or hits are gone are explained by what is left.

-- Whether hits of the day have gone: some may have landed since then, and are not all that it had.
alter table ops.days add column hits_incomplete boolean not null default false;

create or replace view api.days with (security_barrier) as
    select day, final_at, rekeyed, downloads_dropped_at is not null as downloads_gone,
        hits_incomplete or hits_dropped_at is not null as hits_gone
    from ops.days where tenant_no = app.tenant_no();

-- Which version of a podcast's figures there is, so that who has seen it can be told that nothing is new.

-- A number that is raised whenever sums are brought up to date, in the same transaction. Changes that are not summed up
-- yet have a mark: api.dirty_marks.
create table ops.figure_versions (
    podcast_no integer primary key,
    tenant_no integer not null,
    version bigint not null
) with (fillfactor = 50);

create view api.figure_versions with (security_barrier) as
    select podcast_no, version from ops.figure_versions where tenant_no = app.tenant_no();
create view api.listener_marks with (security_barrier) as
    select podcast_no, month from ops.listener_marks where tenant_no = app.tenant_no();
grant select on api.figure_versions, api.listener_marks to castledger_api;

-- Whoever sums up takes the marks of what it sums up, this version and the one before it.
create function ops.raise_figure_versions() returns trigger language plpgsql security definer
    set search_path = pg_catalog, pg_temp
as $$
begin
    insert into ops.figure_versions as known (podcast_no, tenant_no, version)
    select podcast_no, max(tenant_no), 1 from removed group by podcast_no order by podcast_no
    on conflict (podcast_no) do update set tenant_no = excluded.tenant_no, version = known.version + 1;
    return null;
end
$$;
revoke execute on function ops.raise_figure_versions() from public;
create trigger raise_figure_versions after delete on ops.sum_marks
    referencing old table as removed for each statement execute function ops.raise_figure_versions();

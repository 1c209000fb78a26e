-- Tenants can be erased: by the owner, in a transaction that names the tenant and sees nobody else's rows.

-- Whoever lands hits compares the generation of ownership, which an erasure raises as a transfer does.
create table ops.ownership (
    only_row boolean primary key default true check (only_row),
    erasures bigint not null default 0
);
insert into ops.ownership default values;
grant select on ops.ownership to castledger_ingest;

-- Row security is forced, so that the owner sees nothing either where no policy lets it.
do $$
declare
    tenants record;
begin
    for tenants in
        select c.oid::regclass as name, min(a.attname) as key
        from pg_class c join pg_attribute a on a.attrelid = c.oid
        where c.relnamespace = 'app'::regnamespace and c.relkind in ('r', 'p') and c.relrowsecurity
            and a.attname in ('tenant_id', 'tenant_no') and not a.attisdropped
        group by c.oid
    loop
        execute format('create policy erasure on %s to castledger_owner using (%I = app.%I())',
            tenants.name, tenants.key, tenants.key);
    end loop;
end
$$;

-- Which of two sources counts where trackers and an imported log both tell of a podcast's day: 1 trackers, 2 the log
-- (HitSource). A day that only one of them tells of has no row. Hits of the other are kept, with the flag 2048.
create table ops.day_sources (
    tenant_no integer not null,
    day date not null,
    podcast_no integer not null,
    source smallint not null check (source in (1, 2)),
    primary key (tenant_no, day, podcast_no)
);
grant select, insert, update, delete on ops.day_sources to castledger_ingest;

-- Flag the hits of a podcast's day as its counted source says; a log's that came late are taken in when the log counts.
-- Hits are only ever added by who lands them, so nobody else can change one. Returns how many changed.
create function ops.flag_replaced_hits(tenant integer, of_day date, podcasts integer[]) returns bigint
    language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
    flagged bigint;
begin
    if not exists (
        select from ops.days d where d.tenant_no = tenant and d.day = of_day and d.downloads_dropped_at is null
    ) then
        return 0;
    end if;
    perform set_config('timescaledb.max_tuples_decompressed_per_dml_transaction', '0', true);
    update ts.listener_events e
    set flags = case when e.source <> s.source then e.flags | 2048
        when s.source = 2 and e.flags & 16 <> 0 then e.flags & ~(16 | 2048) | 512
        else e.flags & ~2048 end
    from ops.day_sources s
    where s.tenant_no = tenant and s.day = of_day and s.podcast_no = any(podcasts)
        and e.tenant_no = tenant and e.podcast_no = s.podcast_no
        and e.occurred_at >= of_day::timestamp at time zone 'UTC'
        and e.occurred_at < (of_day + 1)::timestamp at time zone 'UTC'
        and ((e.flags & 2048 <> 0) = (e.source = s.source) or s.source = 2 and e.source = 2 and e.flags & 16 <> 0);
    get diagnostics flagged = row_count;
    return flagged;
end
$$;
revoke execute on function ops.flag_replaced_hits(integer, date, integer[]) from public;
grant execute on function ops.flag_replaced_hits(integer, date, integer[]) to castledger_ingest;

-- Whether an enclosure is a playlist, of which ranges say nothing. By the ends of its path it is known without this; a
-- feed may tell it by the type alone.
alter table app.enclosure_owners add column is_playlist boolean not null default false;

-- Row security binds the owner too, who has no rows of its own: it is lifted for this transaction.
set local statement_timeout = 0;
alter table app.episodes no force row level security;
alter table app.enclosures no force row level security;
alter table app.enclosure_owners no force row level security;
update app.enclosure_owners o set is_playlist = true
from app.episodes e join app.enclosures c using (tenant_id, episode_id)
where e.episode_no = o.episode_no and c.enclosure_key = o.enclosure_key
    and lower(btrim(split_part(c.media_type, ';', 1))) in ('application/vnd.apple.mpegurl', 'application/mpegurl',
        'application/x-mpegurl', 'audio/mpegurl', 'audio/x-mpegurl');
alter table app.episodes force row level security;
alter table app.enclosures force row level security;
alter table app.enclosure_owners force row level security;

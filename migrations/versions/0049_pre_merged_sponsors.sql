-- Into which sponsor an archived one was merged: whoever still asks for something of the one is told of the other.
alter table app.sponsors add column merged_into uuid;
alter table app.sponsors add constraint sponsors_merged
    foreign key (tenant_id, merged_into) references app.sponsors;
create index sponsors_merged on app.sponsors (tenant_id, merged_into) where merged_into is not null;

//! What stands in the kernel: read back, to adopt it, to repair it, to notice a change.

use nix::errno::Errno;

use super::rules::{
    CHAIN_HOOK, CHAIN_NAME, ELEMENTS, GET_CHAIN, GET_ELEMENT, GET_RULE, GET_SET, GET_TABLE, HEADER,
    HOOK_DEVICE, HOOK_DEVICES, HOOK_NUMBER, Hook, LEASE, MAPS, TABLE, TABLE_USERDATA, Table,
};
use crate::netlink::{ACK, Attributes, DUMP, Message, Request, Socket, text};

/// Listings may be interrupted by the transactions of others; so often one is begun again.
const TRIES: usize = 5;
const SET_NAME: u16 = 2; // NFTA_SET_NAME, NFTA_SET_ELEM_LIST_SET
const SET_FLAGS: u16 = 3;
const SET_HANDLE: u16 = 16;
const FNV_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0100_0000_01b3;

/// FNV-1a, 64 bits: the same in every build, since the table's comment outlives the process.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(FNV_BASIS, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(FNV_PRIME))
}

/// A base chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Base {
    pub(super) name: String,
    pub(super) hook: u32,
    pub(super) devices: Vec<String>,
}

/// All tables of a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) tables: Vec<Table>,
    /// Of all; empty if they do not have the same.
    pub(super) userdata: Vec<u8>,
    pub(super) bases: Vec<Base>,
    /// Changes with everything in it but living elements.
    pub(super) digest: u64,
}

/// Reads those tables of that name; `None` if there is none.
///
/// # Errors
/// What the kernel said.
pub(super) fn read(
    socket: &mut Socket,
    name: &str,
    tables: &[Table],
) -> Result<Option<Standing>, Errno> {
    for _ in 1..TRIES {
        match read_once(socket, name, tables) {
            Err(Errno::EINTR) => {}
            result => return result,
        }
    }
    read_once(socket, name, tables)
}

fn read_once(socket: &mut Socket, name: &str, tables: &[Table]) -> Result<Option<Standing>, Errno> {
    let mut standing = Standing::default();
    for table in tables {
        read_table(socket, name, *table, &mut standing)?;
    }
    if standing.tables != tables {
        standing.userdata.clear();
    }
    Ok((!standing.tables.is_empty()).then_some(standing))
}

/// Whose elements live in a table.
///
/// # Errors
/// What the kernel said.
pub(super) fn living(socket: &mut Socket, name: &str, table: Table) -> Result<Vec<[u8; 4]>, Errno> {
    let mut living = Vec::new();
    let mut request = Request::new();
    request.begin(GET_ELEMENT, DUMP, &table.header()).text(TABLE, name).text(SET_NAME, LEASE);
    socket.query(&mut request, &mut |message| {
        for (_, element) in Attributes(value(&message, ELEMENTS).unwrap_or_default()) {
            // NFTA_SET_ELEM_KEY, and its NFTA_DATA_VALUE
            let within = |bytes| Attributes(bytes).find(|(kind, _)| *kind == 1);
            let key = within(element).and_then(|(_, key)| within(key));
            living.extend(key.and_then(|(_, key)| key.first_chunk().copied()));
        }
    })?;
    Ok(living)
}

fn read_table(
    socket: &mut Socket,
    name: &str,
    table: Table,
    standing: &mut Standing,
) -> Result<(), Errno> {
    let header = table.header();
    let mut request = Request::new();
    request.begin(GET_TABLE, ACK, &header).text(TABLE, name);
    let found = socket.query(&mut request, &mut |message| {
        standing.add(&message);
        let userdata = value(&message, TABLE_USERDATA).unwrap_or_default();
        if standing.tables.is_empty() {
            standing.userdata = userdata.to_vec();
        } else if standing.userdata != userdata {
            standing.userdata.clear();
        }
        standing.tables.push(table);
    });
    match found {
        Ok(()) => {}
        Err(Errno::ENOENT) => return Ok(()),
        Err(error) => return Err(error),
    }
    // Old kernels list chains and rules of all tables.
    let ours = |message: &Message<'_>| value(message, TABLE).and_then(text) == Some(name);
    request.clear();
    request.begin(GET_CHAIN, DUMP, &header).text(TABLE, name);
    socket.query(&mut request, &mut |message| {
        if ours(&message) {
            standing.add(&message);
            standing.bases.extend(base(&message));
        }
    })?;
    request.clear();
    request.begin(GET_RULE, DUMP, &header).text(TABLE, name);
    socket.query(&mut request, &mut |message| {
        if ours(&message) {
            standing.add(&message);
        }
    })?;
    for set in [LEASE].into_iter().chain(MAPS) {
        request.clear();
        request.begin(GET_SET, ACK, &header).text(TABLE, name).text(SET_NAME, set);
        // Not all of it: newer kernels count the elements.
        let sets = socket.query(&mut request, &mut |message| {
            for kind in [SET_NAME, SET_FLAGS, SET_HANDLE] {
                standing.count(value(&message, kind).unwrap_or_default());
            }
        });
        if sets == Err(Errno::ENOENT) {
            continue; // and so the digest is another one
        }
        sets?;
        if set == LEASE {
            continue;
        }
        request.clear();
        request.begin(GET_ELEMENT, DUMP, &header).text(TABLE, name).text(SET_NAME, set);
        socket.query(&mut request, &mut |message| {
            for (_, element) in Attributes(value(&message, ELEMENTS).unwrap_or_default()) {
                standing.count(element);
            }
        })?;
    }
    Ok(())
}

impl Standing {
    /// A sum, since a listing has no order.
    fn count(&mut self, bytes: &[u8]) {
        self.digest = self.digest.wrapping_add(hash(bytes));
    }

    fn add(&mut self, message: &Message<'_>) {
        // Behind the family's header, which has the generation in it.
        self.count(message.body.get(HEADER..).unwrap_or_default());
    }

    /// Whether it has that base chain, of that hook on that device.
    pub(super) fn has(&self, name: &str, table: Table, hook: Hook, device: &str) -> bool {
        let is_it = |base: &&Base| base.name == name;
        self.bases.iter().find(is_it).is_some_and(|base| {
            base.hook == table.hook(hook) && base.devices.iter().any(|known| known == device)
        })
    }
}

fn value<'a>(message: &Message<'a>, wanted: u16) -> Option<&'a [u8]> {
    let (_, mut attributes) = message.parts::<4>()?;
    attributes.find(|(kind, _)| *kind == wanted).map(|(_, value)| value)
}

/// `None`: a chain without a hook.
fn base(message: &Message<'_>) -> Option<Base> {
    let name = text(value(message, CHAIN_NAME)?)?.to_string();
    let mut base = Base { name, hook: 0, devices: Vec::new() };
    for (kind, value) in Attributes(value(message, CHAIN_HOOK)?) {
        match kind {
            HOOK_NUMBER => base.hook = u32::from_be_bytes(*value.first_chunk()?),
            HOOK_DEVICE => base.devices.extend(text(value).map(String::from)),
            HOOK_DEVICES => {
                let names = Attributes(value).filter_map(|(_, name)| text(name));
                base.devices.extend(names.map(String::from));
            }
            _ => {}
        }
    }
    Some(base)
}

//! Who the workers run as: user, group and supplementary groups.
//!
//! The arbiter keeps its own rights (it may have to bind a port below 1024 again, or to reopen a log); a worker gives them up
//! for good before any code of the application runs.

use std::ffi::CString;
use std::io;

use asteri_server::sys::process::{self, User};

use super::ArbiterOptions;

/// User and group that a worker becomes. `None` in its place: as the arbiter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub uid: u32,
    pub gid: u32,
    groups: Groups,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Groups {
    /// None but the primary one: the arbiter's must not stay, or a worker could still do what root's groups may.
    Cleared,
    /// Those of the user, by `initgroups`.
    OfUser(CString),
}

/// A problem with one of the settings `user`, `group`, `initgroups`.
pub(super) struct IdentityError {
    pub setting: &'static str,
    pub problem: String,
    pub remedy: Option<&'static str>,
}

impl IdentityError {
    fn new(setting: &'static str, problem: String, remedy: Option<&'static str>) -> IdentityError {
        IdentityError { setting, problem, remedy }
    }
}

impl Identity {
    /// Looks up what `options` name. `Ok(None)`: workers run as the arbiter does.
    pub fn resolve(options: &ArbiterOptions) -> Result<Option<Identity>, IdentityError> {
        let (own_uid, own_gid) = process::effective_ids();
        let user = options.user.as_deref().map(find_user).transpose()?;
        let group = options.group.as_deref().map(find_group).transpose()?;
        let (uid, entry) = user.unwrap_or((own_uid, None));
        // A user without a group gets its own primary group: the arbiter's would be root's.
        let gid = group.or(entry.as_ref().map(|user| user.gid)).unwrap_or(own_gid);
        refuse_unchanged("user", uid)?;
        refuse_unchanged("group", gid)?;
        if (uid, gid) == (own_uid, own_gid) && !options.initgroups {
            return Ok(None);
        }
        if own_uid != 0 {
            let setting = if uid != own_uid { "user" } else { "group" };
            let problem = format!("only root can run workers as somebody else, and this is user {own_uid}");
            return Err(IdentityError::new(setting, problem, Some("start as root, or leave out user and group")));
        }
        let groups = if options.initgroups {
            Groups::OfUser(match entry {
                Some(user) => user.name,
                None => named(uid)?,
            })
        } else {
            Groups::Cleared
        };
        Ok(Some(Identity { uid, gid, groups }))
    }

    /// Becomes this user and group. Groups first: afterwards there is no right left to change them.
    pub fn assume(&self) -> io::Result<()> {
        match &self.groups {
            Groups::Cleared => process::set_groups(&[self.gid])?,
            Groups::OfUser(name) => process::init_groups(name, self.gid)?,
        }
        process::set_gid(self.gid)?;
        process::set_uid(self.uid)
    }
}

/// The number -1, with which the system calls mean "leave it as it is": such a worker would stay root.
const UNCHANGED: u32 = u32::MAX;

fn refuse_unchanged(setting: &'static str, id: u32) -> Result<(), IdentityError> {
    if id != UNCHANGED {
        return Ok(());
    }
    let problem = format!("{id} is not a {setting}: the system takes it for \"unchanged\", workers would stay root");
    Err(IdentityError::new(setting, problem, Some("a name, or a smaller number")))
}

/// A user by name or number, with its entry if there is one.
fn find_user(text: &str) -> Result<(u32, Option<User>), IdentityError> {
    let failed =
        |error: io::Error| IdentityError::new("user", format!("user {text:?} cannot be looked up ({error})"), None);
    if let Ok(uid) = text.parse() {
        return Ok((uid, process::user_by_id(uid).map_err(failed)?));
    }
    match process::user_by_name(text).map_err(failed)? {
        Some(user) => Ok((user.uid, Some(user))),
        None => Err(IdentityError::new(
            "user",
            format!("there is no user {text:?}"),
            Some("a name from /etc/passwd, or a number"),
        )),
    }
}

fn find_group(text: &str) -> Result<u32, IdentityError> {
    if let Ok(gid) = text.parse() {
        return Ok(gid);
    }
    match process::group_by_name(text) {
        Ok(Some(gid)) => Ok(gid),
        Ok(None) => {
            let problem = format!("there is no group {text:?}");
            Err(IdentityError::new("group", problem, Some("a name from /etc/group, or a number")))
        }
        Err(error) => Err(IdentityError::new("group", format!("group {text:?} cannot be looked up ({error})"), None)),
    }
}

fn named(uid: u32) -> Result<CString, IdentityError> {
    match process::user_by_id(uid) {
        Ok(Some(user)) => Ok(user.name),
        _ => Err(IdentityError::new(
            "initgroups",
            format!("user {uid} has no name, hence no groups"),
            Some("initgroups = False"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(user: Option<&str>, group: Option<&str>) -> ArbiterOptions {
        ArbiterOptions { user: user.map(str::to_owned), group: group.map(str::to_owned), ..ArbiterOptions::default() }
    }

    #[test]
    fn nobody_else_is_nothing_to_do() {
        let (uid, gid) = process::effective_ids();
        assert!(matches!(Identity::resolve(&options(None, None)), Ok(None)));
        assert!(matches!(Identity::resolve(&options(Some(&uid.to_string()), Some(&gid.to_string()))), Ok(None)));
    }

    #[test]
    fn unknown_names_are_told() {
        let error = Identity::resolve(&options(Some("nobody-by-this-name"), None)).err().unwrap();
        assert_eq!((error.setting, error.problem.as_str()), ("user", "there is no user \"nobody-by-this-name\""));
        let error = Identity::resolve(&options(None, Some("no-such-group"))).err().unwrap();
        assert_eq!(error.setting, "group");
    }

    #[test]
    fn the_number_that_changes_nothing_is_refused() {
        let error = Identity::resolve(&options(Some("4294967295"), Some("1"))).err().unwrap();
        assert_eq!(error.setting, "user");
        assert!(error.problem.starts_with("4294967295 is not a user"), "{}", error.problem);
        let error = Identity::resolve(&options(Some("1"), Some("4294967295"))).err().unwrap();
        assert_eq!(error.setting, "group");
    }

    #[test]
    fn another_user_needs_root() {
        let other = Identity::resolve(&options(Some("12345"), Some("12345")));
        if process::effective_ids().0 == 0 {
            let identity = other.ok().flatten().unwrap();
            assert_eq!((identity.uid, identity.gid, identity.groups), (12345, 12345, Groups::Cleared));
        } else {
            assert_eq!(other.err().unwrap().setting, "user");
        }
    }
}

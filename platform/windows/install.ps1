#Requires -Version 5.1
#Requires -RunAsAdministrator

<#
.SYNOPSIS
Installs nodemeter on this host, or brings an installation up to date.

.DESCRIPTION
Copies the program, makes the service with an account of its own (NT SERVICE\nodemeter), puts that account into the groups
that may read virtual machines and performance counters, closes the data folder to others, and starts the service. Running
it again changes nothing that is right already. Metering stands still for the moments of a restart; what the virtual
machines used meanwhile is in their counters and is metered afterwards.

.PARAMETER InstallFolder
Where the program goes. Default: Program Files\nodemeter.

.PARAMETER NoStart
Leave the service stopped, so that the configuration can be written first.

.EXAMPLE
.\install.ps1
#>
[CmdletBinding()]
param(
    [string] $InstallFolder = (Join-Path $env:ProgramFiles 'nodemeter'),
    [switch] $NoStart
)

Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

$dataFolder = Join-Path $env:ProgramData 'nodemeter'
$program = Join-Path $InstallFolder 'nodemeter.exe'
$configuration = Join-Path $dataFolder 'nodemeter.toml'

function Invoke-Nodemeter {
    & $program @args
    if ($LASTEXITCODE -ne 0) {
        throw "nodemeter $args ended with $LASTEXITCODE"
    }
}

New-Item -ItemType Directory -Force -Path $InstallFolder | Out-Null

# A running program cannot be written over, but it can be renamed: the service goes on until the new one is in place.
$source = Join-Path $PSScriptRoot 'nodemeter.exe'
$same = (Test-Path $program) -and ((Get-FileHash $source).Hash -eq (Get-FileHash $program).Hash)
if (-not $same) {
    $old = "$program.old"
    if (Test-Path $program) {
        Remove-Item -Force -ErrorAction SilentlyContinue $old
        Move-Item -Force $program $old
    }
    Copy-Item -Force $source $program
}

Invoke-Nodemeter service install

if (-not (Test-Path $configuration)) {
    Copy-Item (Join-Path $PSScriptRoot 'nodemeter.toml') $configuration
}
Invoke-Nodemeter config check $configuration

$path = [Environment]::GetEnvironmentVariable('Path', 'Machine')
if (($path -split ';') -notcontains $InstallFolder) {
    [Environment]::SetEnvironmentVariable('Path', "$($path.TrimEnd(';'));$InstallFolder", 'Machine')
}

if (-not $NoStart) {
    if (-not $same) {
        Invoke-Nodemeter service stop
    }
    Invoke-Nodemeter service start
}
Remove-Item -Force -ErrorAction SilentlyContinue "$program.old"
